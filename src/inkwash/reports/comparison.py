"""A page that compares runs: curves over each other, grids of the same noise side by side, what differs in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inkwash.reports import config_diff, figures
from inkwash.reports.page import Cell, Chart, Notes, Page, Section, Shown, Table, write_page
from inkwash.reports.pictures import laid_out, picture
from inkwash.reports.run_curves import LOSSES
from inkwash.reports.run_facts import shown
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_pictures import sample_tiles
from inkwash.reports.run_report import attempted
from inkwash.reports.same_noise import same_noise
from inkwash.runs.directory import RunDirectory

GRID_ROWS = 4
# What a metric's value depends on beside the trained network: the keys of its record, in words.
PROTOCOL = {
    "extractor_hash": "the extractor's weights", "preprocessing": "preprocessing", "reference": "reference",
    "data": "the real images", "weights": "weights", "sampler": "sampler", "steps": "steps", "guidance": "guidance",
    "labels": "labels", "protocol": "the metric's settings",
}  # fmt: skip
Runs = Mapping[str, RunFiles]


class Compared:
    """Runs by a name that tells them apart.

    Attributes:
        missing: sentences about what cannot be compared.
    """

    def __init__(self, runs: Sequence[RunDirectory]):
        files = [RunFiles(run) for run in runs]
        short = [own.name for own in files]
        names = short if len(set(short)) == len(short) else [str(own.run) for own in files]
        self.runs: dict[str, RunFiles] = dict(zip(names, files, strict=True))
        self.missing: list[str] = []

    def told(self) -> list[str]:
        """Return what cannot be compared, and what each run lacks."""
        return [
            *self.missing,
            *(f"{name}: {text}" for name, own in self.runs.items() for text in dict.fromkeys(own.missing)),
        ]


def write_comparison(path: Path, runs: Sequence[RunDirectory]) -> None:
    """Write the page that compares two runs or more."""
    compared = Compared(runs)
    builders = (overview_section, samples_section, curves_section, difference_section)
    sections = [section for build in builders if (section := attempted(build, compared)) is not None]
    names = list(compared.runs)
    page = Page(
        " and ".join([", ".join(names[:-1]), names[-1]]),
        "Comparison of runs",
        missing=compared.told(),
        sections=sections,
    )
    write_page(path, page)


def overview_section(compared: Compared) -> Section:
    """State, steps, losses, metrics, time and commit of each run."""
    metrics = list(dict.fromkeys(name for own in compared.runs.values() for name in own.latest))
    losses = [loss for loss in LOSSES if any(loss in own.curves for own in compared.runs.values())]
    rows = []
    for name, own in compared.runs.items():
        values = [own.latest.get(metric, {}).get("value") for metric in metrics]
        facts = [
            own.step,
            *(own.curves[loss][1][-1] if loss in own.curves else None for loss in losses),
            *values,
            own.summary.get("parameters"),
            own.summary.get("seconds"),
        ]
        rows.append([Cell(name, name), str(own.status["state"]), *facts, str(own.record.get("commit") or "")[:10]])
    titles = (LOSSES[loss] for loss in losses)
    columns = ("run", "state", "step", *titles, *metrics, "parameters", "seconds", "commit")
    return Section("Overview", "overview", [Table("Runs", columns, rows, "A heading sorts.", True)])


def samples_section(compared: Compared) -> Section | None:
    """The last grid of each run, the same images of it."""
    parts, drawn = [], []
    for name, own in compared.runs.items():
        images, columns = sample_tiles(own), own.callback("samples").get("columns")
        if images is None or not isinstance(columns, int):
            compared.missing.append(f"{name} has no grid of samples that can be shown")
            continue
        step = max(step for step, _ in own.grids("step-*.png"))
        label = f"{name}, step {step:,}"
        first = laid_out(images[: GRID_ROWS * columns], columns)
        parts.append((label, picture(first, f"Samples of {label}", min(images.shape[1:3]))))
        drawn.append((name, own))
    if not parts:
        return None
    return Section("Samples", "samples", [Shown("Samples side by side", parts, same_noise(drawn))])


def curves_section(compared: Compared) -> Section:
    """Loss, metrics and throughput of all runs, each value in one chart."""
    runs = compared.runs
    columns = dict.fromkeys(column for own in runs.values() for column in own.curves)
    metrics = [f"metrics/{name}" for name in dict.fromkeys(n for own in runs.values() for n in own.latest)]
    blocks: list[Any] = []
    for column in (*LOSSES, *metrics, "train/images_per_second"):
        series = {name: own.curves.get(column, ([], [])) for name, own in runs.items()}
        if column not in columns:
            continue
        if lacking := [name for name, (steps, _) in series.items() if not steps]:
            compared.missing.append(f"{column} was not measured in {', '.join(lacking)}")
        blocks.append(_overlaid(runs, column, series))
    if differing := _losses_differ(runs):
        compared.missing.append(differing)
    compared.missing += _metrics_differ(runs)
    return Section("Curves", "curves", blocks or [Notes("Nothing yet", ["None of the runs has logged a value."])])


def _overlaid(runs: Runs, column: str, series: Mapping[str, Any]) -> Chart:
    name = column.removeprefix("metrics/")
    of_all = {own.floor(name) for own in runs.values() if column.startswith("metrics/")}
    same = [floor for floor in of_all if floor is not None and len(of_all) == 1]
    drawn = dict(zip(["real images"], same, strict=False))
    return figures.curves(LOSSES.get(column, name), series, name, drawn, showlegend=True)


def _losses_differ(runs: Runs) -> str | None:
    """Say that the losses do not compare if their target or weight differs."""
    keys = ("prediction", "weighting", "loss", "times", "schedule", "data", "autoencoder")
    differing = [key for key in keys if len({str(own.config.get(key)) for own in runs.values()}) > 1]
    return f"the losses do not compare: the runs differ in {', '.join(differing)}" if differing else None


def _metrics_differ(runs: Runs) -> list[str]:
    """Say which metrics were measured in different ways: then their values differ for more reasons than the network."""
    told: dict[str, list[str]] = {}
    for metric in dict.fromkeys(name for own in runs.values() for name in own.latest):
        records = [own.latest[metric] for own in runs.values() if metric in own.latest]
        values = {words: {str(record[key]) for record in records if key in record} for key, words in PROTOCOL.items()}
        if differing := [words for words, found in values.items() if len(found) > 1]:
            told.setdefault(", ".join(differing), []).append(metric)
    return [
        f"{', '.join(names)} was measured in different ways: the runs differ in {words}"
        for words, names in told.items()
    ]


def difference_section(compared: Compared) -> Section | None:
    """The keys whose values differ between the runs."""
    configs = {name: own.config for name, own in compared.runs.items() if own.config}
    if len(configs) < 2:
        compared.missing.append("fewer than two of the runs have a configuration that can be read")
        return None
    rows = [[key, *(shown(value) for value in values)] for key, values in config_diff.between(configs)]
    if not rows:
        same = Notes("Difference", ["None: the configurations are the same."])
        return Section("Configuration", "configuration", [same])
    return Section("Configuration", "configuration", [Table("What differs", ("key", *configs), rows)])

"""Sections of a run's page about its data, schedule, configuration and provenance. Without torch."""

import shlex
from itertools import cycle
from typing import Any

from inkwash.reports import config_diff, figures
from inkwash.reports.page import Cell, Chart, Code, Facts, Notes, Section, Table, number
from inkwash.reports.run_files import RunFiles

FEW_CLASSES = 40  # that a bar chart has room for
DASHES = ("dot", "dash", "dashdot")  # of the other schedules, which share colours


# --- Data -------------------------------------------------------------------------------------------------------------


def data_section(files: RunFiles) -> Section | None:
    """The report of the data set; None before it was loaded."""
    data = files.data
    if not data:
        files.missing.append("the data set was not described yet")
        return None
    blocks: list[Any] = []
    if warnings := data.get("suspicious"):
        blocks.append(Notes("Worth a look", [str(sentence) for sentence in warnings]))
    names = {"train": "training", "heldout": "held out"}
    splits = [(name, data[key]) for key, name in names.items() if isinstance(data.get(key), dict)]
    rows = [[name, s.get("images"), s.get("origin"), _levels(s), s.get("unlabelled")] for name, s in splits]
    blocks.append(Table("Splits", ("split", "images", "from", "levels of 0..255", "without a label"), rows))
    counts = {name: split["counts"] for name, split in splits if sum(split.get("counts") or [])}
    classes = [str(name) for name in data.get("classes") or []]
    if counts and len(classes) <= FEW_CLASSES:
        train = counts.get("training") or next(iter(counts.values()))
        text = f"{len(classes)} classes with {min(train):,} to {max(train):,} images in the first of these splits."
        blocks.append(figures.bars("Images of each class", classes, counts, "images", text))
    elif counts:
        rows = [[name, *(values[i] for values in counts.values())] for i, name in enumerate(classes)]
        blocks.append(Table("Images of each class", ("class", *counts), rows, sortable=True))
    blocks.append(_passed_over(splits))
    return Section("Data", "data", blocks)


def _levels(split: dict[str, Any]) -> str:
    levels = split.get("levels")
    return "{} to {}".format(*levels) if levels else ""


def _passed_over(splits: list[tuple[str, dict[str, Any]]]) -> Any:
    tallies = {reason: tally for _, split in splits for reason, tally in (split.get("passed_over") or {}).items()}
    if not tallies:
        return Notes("Passed over", ["Nothing: every file and image was used."])
    rows = [
        [reason, tally.get("count"), ", ".join(map(str, tally.get("first") or []))] for reason, tally in tallies.items()
    ]
    return Table("Passed over", ("why", "how many", "the first of them"), rows)


# --- Schedule ---------------------------------------------------------------------------------------------------------


def schedule_section(files: RunFiles) -> Section | None:
    """The run's path, weighting and times beside the other schedules; None if they were not computed."""
    drawn = files.drawing("schedules.json")
    if not drawn.get("paths"):
        return None
    own, paths = drawn["own"], drawn["paths"]
    blocks = [_log_snr_chart(own, paths, drawn), _alpha_chart(own, paths[own])]
    if drawn.get("weight") or drawn.get("density"):
        blocks.append(_emphasis_chart(drawn))
    intro = (
        "The path says how much of the image (alpha) and of noise (sigma) there is in x_t; log SNR is "
        "log(alpha² / sigma²). Which noise levels training sees, and how much they weigh, are choices of their own."
    )
    return Section("Schedule", "schedule", blocks, intro)


def _log_snr_chart(own: str, paths: dict[str, Any], drawn: dict[str, Any]) -> Chart:
    looks = [{"width": 1.2, "dash": dash, "color": colour} for dash in DASHES for colour in figures.COLOURS[2:]]
    others = [name for name in paths if name != own]
    lines = [
        figures.scatter(paths[name]["u"], paths[name]["log_snr"], name, line=look)
        for name, look in zip(others, cycle(looks), strict=False)
    ]
    path = paths[own]
    lines.append(
        figures.scatter(
            path["u"], path["log_snr"], f"{own} (this run)", line={"width": 3.5, "color": figures.COLOURS[0]}
        )
    )
    times = drawn.get("sampling") or {}
    if times:
        mark = {"symbol": "diamond", "size": 7, "color": figures.COLOURS[1]}
        lines.append(figures.scatter(times["u"], times["log_snr"], "sampling times", mode="markers", marker=mark))
    values = [value for value in path["log_snr"] if value is not None]
    text = (
        f"{own} runs from log SNR {number(max(values))} to {number(min(values))}; the sampler visits "
        f"{len(times.get('u', []))} times. Thin: the other schedules of conf/schedule, with their own defaults."
    )
    chart = figures.figure(
        lines,
        "fraction of time (0 data, 1 noise)",
        "log SNR",
        yaxis={"range": [-16, 16]},
        hovermode="closest",
    )
    return Chart("Log SNR over time, and the times that sampling visits", chart, text, height=420)


def _alpha_chart(own: str, path: dict[str, Any]) -> Chart:
    lines = [figures.scatter(path["u"], path[key], key) for key in ("alpha", "sigma")]
    large = max(path["sigma"]) > 2
    chart = figures.figure(
        lines, "fraction of time (0 data, 1 noise)", "factor", yaxis={"type": "log"} if large else {}
    )
    text = "alpha goes from {} to {}, sigma from {} to {}.".format(
        *(number(path[key][end]) for key in ("alpha", "sigma") for end in (0, -1))
    )
    return Chart(f"alpha and sigma of {own}", chart, text, height=420)


def _emphasis_chart(drawn: dict[str, Any]) -> Chart:
    lines, told = [], []
    for key, name in (("density", "density of training times"), ("weight", "weight of the loss in target space")):
        if values := drawn.get(key):
            peak = max(values["y"]) or 1
            lines.append(figures.scatter(values["log_snr"], [y / peak for y in values["y"]], name))
            at = values["log_snr"][values["y"].index(max(values["y"]))]
            flat = min(values["y"]) > 0.999 * peak
            told.append(f"{name}: {'the same everywhere' if flat else f'largest at log SNR {round(at, 1) + 0.0:g}'}")
    chart = figures.figure(lines, "log SNR", "relative to its largest value", yaxis={"range": [0, 1.05]})
    return Chart("What training looks at", chart, figures.sentence("; ".join(told)))


# --- Configuration and provenance -------------------------------------------------------------------------------------


def config_section(files: RunFiles) -> Section | None:
    """The difference to the defaults, and what was chosen; None without a configuration."""
    if not files.config:
        return None
    blocks: list[Any] = []
    rows = [[key, shown(old), shown(new)] for key, old, new in config_diff.from_defaults(files)]
    if rows:
        blocks.append(Table("Different from the defaults", ("key", "default", "this run"), rows))
    else:
        blocks.append(Notes("Different from the defaults", ["Nothing: this is what `make train` trains."]))
    if choices := files.record.get("choices"):
        blocks.append(Facts("Chosen from conf/", {str(group): shown(name) for group, name in choices.items()}))
    return Section("Configuration", "configuration", blocks)


def shown(value: Any) -> str:
    """Format a value of a configuration."""
    return "–" if value is None else str(value)


def again_section(files: RunFiles) -> Section:
    """Commit, versions, hardware, and what to type to train it again, sample, measure."""
    record, summary = files.record, files.summary
    commit = record.get("commit")
    facts = {
        "commit": f"{commit}{' with changes that were not committed' if record.get('dirty') else ''}"
        if commit
        else None,
        **(record.get("versions") or {}),
        **{
            name: summary.get(name)
            for name in ("parameters", "accelerator", "world_size", "precision", "memory_format")
        },
        "threads": summary.get("threads"),
        "seed": files.config.get("seed"),
        "W&B run": record.get("id") if "wandb" in (files.config.get("logger") or {}) else None,
    }
    known = {name: Cell(number(v) if isinstance(v, int) else str(v)).text for name, v in facts.items() if v is not None}
    blocks: list[Any] = [Facts("Made with", known)]
    if "overrides" in record:
        blocks.append(Code("Train it again", _train_command(record), "The same command goes on if the run exists."))
    run = shlex.quote(str(files.run))
    python = f'import inkwash\nrun = inkwash.load_run("{files.run}")  # .sample(16), .plot(), .metrics, .denoiser'
    if files.run.checkpoints.newest_first():
        few = f"make sample run={run} sampler=ddim spacing.steps=50"
        blocks += [
            Code("Draw images", f"make sample run={run} num_images=64\n{few}"),
            Code("Measure", f"make evaluate run={run} sampler=ddim,dpmpp_2m spacing.steps=5,10,20"),
            Code("In Python", python),
        ]
    blocks.append(Code("Write this page anew", f"make report run={run}"))
    return Section("How to run it again", "again", blocks)


def _train_command(record: dict[str, Any]) -> str:
    lines = [f"git checkout {record['commit']}"] if record.get("commit") else []
    return "\n".join([*lines, shlex.join(["inkwash", "train", *map(str, record["overrides"])])])

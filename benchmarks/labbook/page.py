"""Write the page of a study: what was asked, the table with intervals over seeds, the plot, what it shows."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inkwash.files import write_text
from labbook import interval, plot
from labbook.results import Entry, grid_name
from labbook.study import STUDIES, Study

TITLES = {"fd": "distance", "accuracy": "as asked", "heldout_loss": "held-out loss"}


def short(name: str) -> str:
    """Return the beginning of a metric's name, without extractor and number of images: fd_classifier_1350 -> fd."""
    if name.startswith("fid"):  # a Frechet distance in the features of the papers (metrics/record.py)
        return f"fd{name.removeprefix('fid').rpartition('_')[0]}"
    for extractor in ("classifier", "pyramid", "inception", "pixels", "clip", "dinov2"):
        name = name.partition(f"_{extractor}")[0]
    return name


def values(entries: Sequence[Entry], metric: str) -> list[float]:
    """Return a metric's value in each of some entries, by the beginning of its name."""
    found: list[float] = []
    for entry in entries:
        named = {short(name): value for name, value in entry["values"].items()} | {
            "heldout_loss": entry["heldout_loss"]
        }
        if named.get(metric) is not None:
            found.append(named[metric])
    return found


def groups(study: Study, entries: Sequence[Entry]) -> dict[tuple[Any, ...], list[Entry]]:
    """Return the entries of all seeds by (row, varied settings), rows in the study's order."""
    grouped: dict[tuple[Any, ...], list[Entry]] = {}
    for row in study.rows:
        for entry in entries:
            if entry["row"] == row:
                grouped.setdefault((row, *entry["cell"].values()), []).append(entry)
    return grouped


def shown(numbers: Sequence[float]) -> str:
    """Return a mean with its interval, `0.213 (0.18 to 0.25)`, or the only value."""
    if not numbers:
        return ""
    mean, around = statistics.fmean(numbers), interval.of_mean(numbers)
    return f"{mean:.3g}" + ("" if around is None else f" ({_two_digits(around[0])} to {_two_digits(around[1])})")


def _two_digits(number: float) -> str:
    """Return 0.12, 1.2, 12 and 123."""
    return f"{number:,.0f}" if abs(number) >= 99.5 else f"{number:.2g}"


def of_several_judges(study: Study, entries: Sequence[Entry]) -> bool:
    """Tell whether a study's distances are by judges that differ: each machine trains one for each size of images."""
    return study.metrics[0] == "fd" and len({f"{entry['floor']:.3g}" for entry in entries if entry["floor"]}) > 1


def in_floors(entries: Sequence[Entry]) -> list[float]:
    """Return the distances of entries that have a floor, as multiples of it: each of its own judge's."""
    return [value / entry["floor"] for entry in entries if entry["floor"] for value in values([entry], "fd")]


def comparable(entries: Sequence[Entry], metric: str) -> tuple[list[float], str]:
    """Return what compares with entries of other machines, and its unit: distances in floors where all have one."""
    if metric == "fd" and all(entry["floor"] for entry in entries):
        return in_floors(entries), "floors"
    return values(entries, metric), metric


def floors(entries: Sequence[Entry]) -> str:
    """Show the mean multiple of the floor with its interval; nothing where there is no floor."""
    return shown(in_floors(entries))


def differences(found: Sequence[Entry], baseline: Sequence[Entry], metric: str) -> list[float]:
    """Return what a metric is more than that of the baseline with the same seed, [] for the baseline itself."""
    if found is baseline:
        return []
    of_seed = {entry["seed"]: value for entry in baseline for value in values([entry], metric)}
    pairs = ((value, of_seed.get(entry["seed"])) for entry in found for value in values([entry], metric))
    return [value - other for value, other in pairs if other is not None]


def table(study: Study, entries: Sequence[Entry]) -> str:
    """Return a Markdown table: a line for each row and setting, the main metric with its interval over seeds."""
    several_rows = len(study.rows) > 1
    head = [*(["row"] if several_rows else []), *study.varied]
    titles = [TITLES.get(metric, metric) for metric in study.metrics]
    head += [titles[0], *([f"minus {study.baseline}"] if study.baseline else []), *titles[1:]]
    head += ["floors", "evaluations", "images", "seconds", "seeds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    grouped = groups(study, entries)
    for (row, *cell), found in grouped.items():
        main = values(found, study.metrics[0])
        cells = [*([row] if several_rows else []), *map(str, cell)]
        cells += [shown(main)]
        if study.baseline:
            cells += [shown(differences(found, grouped.get((study.baseline, *cell), []), study.metrics[0]))]
        cells += [shown(values(found, metric)).split(" ")[0] for metric in study.metrics[1:]]
        cells += [floors(found) if study.metrics[0] == "fd" else ""]
        cells += [f"{found[0]['evaluations']:g}" if found[0]["evaluations"] else ""]
        cells += [f"{found[0]['images']:,}", f"{statistics.fmean(entry['seconds'] for entry in found):.0f}"]
        lines.append("| " + " | ".join([*cells, str(len(found))]) + " |")
    return "\n".join(lines)


def made_with(entries: Sequence[Entry]) -> str:
    """Say on what machine, with what versions and code the entries were made."""
    facts = {
        "Processor": {entry["machine"] for entry in entries},
        "torch": {entry["versions"]["torch"] for entry in entries},
        "commit": {entry["commit"][:7] + (" with changes" if entry["dirty"] else "") for entry in entries},
        "with": {" ".join(entry["trainer"]) for entry in entries} - {""},
    }
    return "; ".join(f"{name} {', '.join(sorted(found))}" for name, found in facts.items() if found)


def write(study: Study, entries: Sequence[Entry], studies: Path = STUDIES) -> None:
    """Write README.md and, if something was measured, plot.png."""
    folder = studies / study.name
    parts = [f"# {study.title}", study.question.strip(), f"```text\nmake study study={study.name}\n```"]
    if entries:
        plot.draw(study, entries, folder / "plot.png")
        told = "the first value, the floors" + (" and the difference of pairs" if study.baseline else "")
        parts += [table(study, entries), f"![{study.title}](plot.png)"]
        parts += [
            f"Means over the seeds, {told} with the interval that holds the mean with a probability of 95% "
            "(Student's). `floors` are multiples of the distance of as many real training images, `seconds` those of "
            f"the training's steps. {made_with(entries)}."
        ]
        if of_several_judges(study, entries):
            parts += ["Each machine and each size of images has a judge of its own: compare `floors` between them."]
        if study.grids:
            rows = dict.fromkeys(entry["row"] for entry in entries)
            parts += [f"{row}:\n\n![Samples of {row}]({grid_name(row)})" for row in rows]
    else:
        parts += ["Not measured."]
    if study.shows:
        parts += ["## What it shows", study.shows.strip()]
    if study.failed:
        parts += ["## What did not work", study.failed.strip()]
    commands = "\n".join(f"{study.command(row)}   # {row}" for row in study.rows)
    parts += [f"## The trainings\n\nEach with `seed=0`, `seed=1` and so on.\n\n```text\n{commands}\n```"]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")

"""The page of an evaluation: quality against network evaluations, with intervals, and the protocol of every number."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inkwash.reports import figures
from inkwash.reports.evaluation_table import interval_of, over_seeds, rows
from inkwash.reports.page import Cell, Chart, Page, Section, Table, number, write_page
from inkwash.runs.best import lower_is_better, main_metric

Results = Sequence[dict[str, Any]]
PROTOCOL = (
    "n_fake", "n_real", "reference", "extractor", "extractor_hash", "preprocessing", "weights", "sampler", "steps",
    "guidance", "seed", "labels", "commit",
)  # fmt: skip


def write_evaluation_report(path: Path, title: str, results: Results) -> None:
    """Write the page of the results of an evaluation."""
    write_page(path, evaluation_page(title, results))


def evaluation_page(title: str, results: Results) -> Page:
    """Return the page: a chart for each value that has a best, a table of all, and how each was measured."""
    directions = {
        name: lower_is_better({"name": name, **r["records"].get(name, {})}) for r in results for name in r["metrics"]
    }
    main, flat = main_metric(directions), rows(results)
    charts = [quality_chart(name, lower, results) for name, lower in directions.items() if lower is not None]
    sections = [Section("Quality against network evaluations", "quality", charts)] if charts else []
    sections += [_table(flat, directions, results), _protocol(results)]
    headline = [(main, number(flat[0][main]), str(flat[0]["name"]))] if main and flat and main in flat[0] else []
    lead = [f"{len(results)} measurement{'s' * (len(results) != 1)}, the best by {main} first" if main else ""]
    missing = [] if charts else ["no value that has a best was measured"]
    return Page(title, "Evaluation", "", lead, headline, missing, sections)


def quality_chart(name: str, lower: bool, results: Results) -> Chart:
    """Draw a metric against network evaluations, a line for each sampler; bars are intervals or the range of seeds."""
    lines, told = [], []
    for line, points in sorted(_points(name, results).items()):
        x = sorted(points)
        means = [statistics.fmean(value for value, _, _ in points[k]) for k in x]
        below = [m - min(low for _, low, _ in points[k]) for k, m in zip(x, means, strict=True)]
        above = [max(high for _, _, high in points[k]) - m for k, m in zip(x, means, strict=True)]
        bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.2}
        lines.append(figures.scatter(x, means, line, mode="lines+markers", error_y=bars))
        at = (min if lower else max)(range(len(x)), key=lambda i: means[i])
        told.append(f"{line} is best with {number(means[at])} at {number(x[at])} evaluations")
    ticks = sorted({k for points in _points(name, results).values() for k in points})
    layout: dict[str, Any] = {"yaxis": {"rangemode": "tozero"}, "hovermode": "closest"}
    if ticks and ticks[0] > 0:
        layout["xaxis"] = {"type": "log", "tickvals": ticks, "ticktext": [number(tick) for tick in ticks]}
    drawn = figures.figure(lines, "network evaluations for each image", name, showlegend=True, **layout)
    best = "Less is better. " if lower else "More is better. "
    intervals = any(max(bar) > 0 for line in lines for bar in (line.error_y.array, line.error_y.arrayminus))
    text = " Bars: the interval of the value where one was measured, else the range over seeds." if intervals else ""
    return Chart(name, drawn, f"{best}{figures.sentence('; '.join(told))}{text}")


def _points(name: str, results: Results) -> dict[str, dict[float, list[tuple[float, float, float]]]]:
    """Return (value, low, high) of each measurement by line and number of evaluations."""
    found: dict[str, dict[float, list[tuple[float, float, float]]]] = {}
    for r in results:
        if (value := r["metrics"].get(name)) is None:
            continue
        line = str(r["sampler"])
        if r.get("guidance") not in (None, 1):
            line += f", guidance {r['guidance']:g}"
        ends = interval_of(name, list(r["metrics"]))
        low, high = (r["metrics"][end] for end in ends) if ends else (value, value)
        found.setdefault(line, {}).setdefault(r["evaluations"] or 0, []).append((value, low, high))
    return found


def _table(flat: list[dict[str, Any]], directions: dict[str, bool | None], results: Results) -> Section:
    names = list(directions)
    columns = ("settings", "evaluations", "seconds", *names)
    cells = [[row["name"], row["evaluations"], row["seconds"], *(row.get(name) for name in names)] for row in flat]
    blocks = [Table("All measurements", columns, cells, "The best first; a heading sorts.", True, 0 if flat else None)]
    if groups := over_seeds(results):
        summaries = [
            [g["name"], *(_spread(g["metrics"].get(name)) for name in names)] for g in groups
        ]  # fmt: skip
        blocks.append(Table("Over seeds: mean and standard deviation", ("settings", *names), summaries))
    return Section("Table", "table", blocks)


def _spread(summary: Any) -> Cell:
    return Cell("") if summary is None else Cell(f"{summary.mean:.4g} ± {summary.std:.2g}", summary.mean)


def _protocol(results: Results) -> Section:
    """A row for each value: what all measurements of it have in common, and what the table above tells apart."""
    names = dict.fromkeys(name for r in results for name in r["records"])
    cells = []
    for name in names:
        records = [r["records"][name] for r in results if name in r["records"]]
        settings = ({f"{key}={value}" for key, value in (record.get("protocol") or {}).items()} for record in records)
        notes = [str(note) for record in records for note in record.get("notes") or []]
        facts = [_distinct(record.get(key) for record in records) for key in PROTOCOL]
        cells.append([name, *facts, ", ".join(sorted(set().union(*settings))), "; ".join(dict.fromkeys(notes))])
    columns = ("value", *PROTOCOL, "settings of the metric", "notes")
    text = (
        "Values compare if all that stands here is the same, but for what is being compared. Several entries of a cell "
        "belong to different measurements, whose settings say which."
    )
    table = Table("How each value was measured", columns, cells, text)
    return Section("Protocol of every number", "protocol", [table])


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))

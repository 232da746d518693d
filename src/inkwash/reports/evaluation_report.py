"""The page of an evaluation: quality against network evaluations, with intervals, and the protocol of every number."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inkwash.reports import figures
from inkwash.reports.evaluation_lines import Results, along_evaluations
from inkwash.reports.evaluation_table import directions_of, interval_of, over_seeds, ranked, rows
from inkwash.reports.page import Cell, Chart, Page, Section, Table, number, write_page

PROTOCOL = (
    "n_fake", "n_real", "reference", "extractor", "extractor_hash", "preprocessing", "weights", "sampler", "steps",
    "guidance", "seed", "labels", "commit",
)  # fmt: skip


def write_evaluation_report(path: Path, title: str, results: Results) -> None:
    """Write the page of the results of an evaluation."""
    write_page(path, evaluation_page(title, results))


def evaluation_page(title: str, results: Results) -> Page:
    """Return the page: a chart for each value that has a best, a table of all, and how each was measured."""
    directions = directions_of(results)
    groups = {main: of_it for main, of_it in ranked(results).items() if main}
    headline = [(main, number(best["metrics"][main]), str(best["name"])) for main, (best, *_) in groups.items()]
    by = ", then ".join(groups)
    charts = [quality_chart(name, lower, results) for name, lower in directions.items() if lower is not None]
    sections = [Section("Quality against network evaluations", "quality", charts)] if charts else []
    sections += [_table(directions, results), _protocol(results)]
    lead = [f"{len(results)} measurement{'s' * (len(results) != 1)}, the best first by {by}" if by else ""]
    missing = [] if charts else ["no value that has a best was measured"]
    return Page(title, "Evaluation", "", lead, headline, missing, sections)


def quality_chart(name: str, lower: bool, results: Results) -> Chart:
    """Draw a metric against network evaluations, a line for all that differ only in seed and number of steps."""
    lines, told, many = [], [], False
    of_lines = along_evaluations(name, results)
    for index, (line, points) in enumerate(sorted(of_lines.items())):
        x = sorted(points)
        values = [[_with_ends(name, r) for r in points[k]] for k in x]
        means = [statistics.fmean(value for value, _, _ in point) for point in values]
        below = [m - min(low for _, low, _ in point) for m, point in zip(means, values, strict=True)]
        above = [max(high for _, _, high in point) - m for m, point in zip(means, values, strict=True)]
        bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.2}
        look = figures.look(index)
        lines.append(figures.scatter(x, means, line, mode="lines+markers", line=look, error_y=bars))
        at = (min if lower else max)(range(len(x)), key=lambda i: means[i])
        told.append(f"{line} with {number(means[at])}" + (f" at {number(x[at])} evaluations" if x[at] else ""))
        many = many or any(len(point) > 1 for point in values)
    ticks = sorted({k for points in of_lines.values() for k in points})
    layout: dict[str, Any] = {"yaxis": {"rangemode": "tozero"}, "hovermode": "closest"}
    if ticks and ticks[0] > 0:
        layout["xaxis"] = {"type": "log", "tickvals": ticks, "ticktext": [number(tick) for tick in ticks]}
    drawn = figures.figure(lines, "network evaluations for each image", name, showlegend=True, **layout)
    best = "Less is better. " if lower else "More is better. "
    text = " Points: the mean over seeds." if many else ""
    if any(max(bar) > 0 for line in lines for bar in (line.error_y.array, line.error_y.arrayminus)):
        text += f" Bars: {_bars(name, results, many)}."
    return Chart(name, drawn, f"{best}Best: {'; '.join(told)}.{text}")


def _with_ends(name: str, result: dict[str, Any]) -> tuple[float, float, float]:
    """Return a value and the ends of its interval, itself if no interval was measured."""
    value, ends = result["metrics"][name], interval_of(name, list(result["metrics"]))
    low, high = (result["metrics"][end] for end in ends) if ends else (value, value)
    return value, low, high


def _bars(name: str, results: Results, many: bool) -> str:
    """Say what the bars are, where there are any."""
    if not any(interval_of(name, list(r["metrics"])) for r in results):
        return "the range over seeds"
    return "from the lowest to the highest end of the seeds' intervals" if many else "the interval of the value"


def _table(directions: dict[str, bool | None], results: Results) -> Section:
    names, flat = list(directions), rows(results)
    columns = ("settings", "evaluations", "seconds", *names)
    cells = [[row["name"], row["evaluations"], row["seconds"], *(row.get(name) for name in names)] for row in flat]
    text = "The best first; a heading sorts."
    if len({row["num_images"] for row in flat}) > 1:
        text += " Each number of images has its own, because their values do not compare."
    blocks = [Table("All measurements", columns, cells, text, True, 0 if flat else None)]
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

"""The page of a sweep, report.html in its directory: made of the rows of its table. Without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inkwash.reports import figures
from inkwash.reports.key_effects import as_numbers, effect
from inkwash.reports.page import Cell, Chart, Code, Page, Section, Shown, Table, number, write_page
from inkwash.reports.pictures import laid_out, picture
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_pictures import sample_tiles
from inkwash.reports.same_noise import same_noise
from inkwash.runs.directory import DONE, RunDirectory
from inkwash.runs.overview import COMMAND

BEST = 8  # jobs whose samples are shown
GRID_ROWS = 2  # of each
BEST_TO_WORST = [[0, "#D55E00"], [0.35, "#E69F00"], [1, "#7f93a8"]]  # seen on white and on black


@dataclass
class Sweep:
    """A sweep as its page needs it.

    Attributes:
        directory: with a run directory for each job.
        rows: of sweeps/table.py, the best first.
        metric: what they are sorted by; None if nothing was measured.
        lower: whether less of it is better.
        varied: the keys whose values differ between jobs.
    """

    directory: Path
    rows: list[dict[str, Any]]
    metric: str | None
    lower: bool | None
    varied: list[str]

    @property
    def measured(self) -> list[dict[str, Any]]:
        """The rows with a finite value of the metric."""
        return [row for row in self.rows if math.isfinite(row["metrics"].get(self.metric, math.nan))]

    def setting(self, row: dict[str, Any], key: str) -> str:
        """Return a job's value of a key, as it was typed."""
        return dict(override.partition("=")[::2] for override in row["overrides"]).get(key, "")

    def label(self, row: dict[str, Any]) -> str:
        """Return what tells a job from the others."""
        own = " ".join(f"{key}={self.setting(row, key)}" for key in self.varied)
        return own or row["job"]


def write_sweep_report(sweep: Sweep, path: Path | None = None) -> None:
    """Write the page of a sweep: report.html in its directory, or another file."""
    write_page(path or sweep.directory / "report.html", sweep_page(sweep))


def sweep_page(sweep: Sweep) -> Page:
    """Return the page; jobs that failed are shown with their reason, and say so at the top."""
    failed = [row for row in sweep.rows if row["state"] not in DONE]
    missing = [f"{row['job']} {row['state']}: {row['error'] or 'killed, or it still runs'}" for row in failed]
    if sweep.metric is None:
        missing.append("no job has measured a metric yet")
    made = (_jobs(sweep), _coordinates(sweep), _keys(sweep), _cost(sweep), _samples(sweep), _again(sweep))
    state = "running" if any(row["state"] == "running" for row in failed) else "failed" if failed else "finished"
    counts = f"{len(sweep.rows)} jobs, {len(sweep.rows) - len(failed)} of them done"
    best = sweep.measured[:1]
    figures_ = [(sweep.metric or "", number(row["metrics"][sweep.metric]), sweep.label(row)) for row in best]
    lead = [counts + (f"; it varies {', '.join(sweep.varied)}" if sweep.varied else "")]
    return Page(
        sweep.directory.resolve().name, "Sweep", state if sweep.rows else "", lead, figures_, missing,
        [section for section in made if section],
    )  # fmt: skip


def _jobs(sweep: Sweep) -> Section:
    measured = (name for row in sweep.rows for name in row["metrics"])
    metrics = list(dict.fromkeys([*filter(None, [sweep.metric]), *measured]))
    rows = []
    for row in sweep.rows:
        page = f"{row['job']}/report.html"
        link = page if (sweep.directory / page).is_file() else None
        settings = [_typed(sweep.setting(row, key)) for key in sweep.varied]
        facts = [row.get(key) for key in ("train_loss", "images_per_second", "seconds", "steps")]
        values = [row["metrics"].get(name) for name in metrics]
        rows.append([*settings, row["state"], Cell(row["job"], row["job"], link), *values, *facts, row["error"]])
    columns = [*sweep.varied, "state", "job", *metrics, "train_loss", "images/s", "seconds", "steps", "error"]
    if not any(row["error"] for row in sweep.rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    best = 0 if sweep.measured else None
    return Section("Jobs", "jobs", [Table("All jobs", columns, rows, "The best first; a heading sorts.", True, best)])


def _typed(setting: str) -> Cell:
    numbers = as_numbers([setting])
    return Cell(setting, numbers[0] if numbers else setting)


def _coordinates(sweep: Sweep) -> Section | None:
    rows = sweep.measured
    if len(rows) < 2 or not sweep.varied:
        return None
    import plotly.graph_objects as go

    values = [row["metrics"][sweep.metric] for row in rows]
    axes = [_axis(key, [sweep.setting(row, key) for row in rows]) for key in sweep.varied]
    axes.append({"label": sweep.metric, "values": values})
    line = {"color": values, "colorscale": BEST_TO_WORST, "reversescale": sweep.lower is False, "showscale": False}
    drawn = figures.figure([go.Parcoords(dimensions=axes, line=line)], "", "")
    drawn.update_layout(margin={"l": 70, "r": 50, "t": 50, "b": 20})
    told = f"The best is {sweep.label(rows[0])} with {number(values[0])}, the worst {sweep.label(rows[-1])} with "
    text = f"Each line is a job. {told}{number(values[-1])}. Drag along an axis to choose lines."
    chart = Chart("Settings and what came of them", drawn, text, 400, True)
    return Section("Parallel coordinates", "coordinates", [chart])


def _axis(key: str, settings: Sequence[str]) -> dict[str, Any]:
    """Return an axis of plotly's parallel coordinates: numbers, in powers of ten if they span many, or names."""
    numbers = as_numbers(settings)
    if numbers is None:
        names = sorted(set(settings))
        return {
            "label": key, "values": [names.index(s) for s in settings], "tickvals": list(range(len(names))),
            "ticktext": [figures.literal(name or "–") for name in names],
        }  # fmt: skip
    if _spans(numbers):
        ticks = sorted(set(numbers))
        ticks = ticks if len(ticks) <= 8 else np.geomspace(ticks[0], ticks[-1], 6).tolist()
        return {
            "label": key, "values": np.log10(numbers).tolist(), "tickvals": np.log10(ticks).tolist(),
            "ticktext": [f"{tick:.3g}" for tick in ticks],
        }  # fmt: skip
    ticks = sorted(set(numbers))
    return {"label": key, "values": numbers, **({"tickvals": ticks} if len(ticks) <= 8 else {})}


def _spans(numbers: Sequence[float]) -> bool:
    """Tell whether numbers are so far apart that their axis is logarithmic."""
    return min(numbers) > 0 and max(numbers) / min(numbers) >= 20


def _keys(sweep: Sweep) -> Section | None:
    rows = sweep.measured
    if len(rows) < 3 or not sweep.varied:
        return None
    values = [row["metrics"][sweep.metric] for row in rows]
    found = [effect(key, [sweep.setting(row, key) for row in rows], values) for key in sweep.varied]
    found.sort(key=lambda e: -1.0 if e.share is None else e.share, reverse=True)
    known = [e for e in found if e.share is not None]
    blocks: list[Any] = []
    if known:
        told = ", ".join(f"{e.key} {e.share:.0%}" for e in known)
        text = (
            f"Of the variance of {sweep.metric} between {len(rows)} jobs: {told}. What chance would explain is taken "
            "off; what two keys do together is not seen."
        )
        shares = {"share": [e.share or 0.0 for e in known]}
        title = "Share that each key explains by itself"
        chart = figures.bars(title, [e.key for e in known], shares, "share of the variance", text)
        chart.figure.update_yaxes(range=[0, 1])
        blocks.append(chart)
    blocks += [_strip_chart(sweep, rows, e.key) for e in found[:6]]
    table = [[e.key, e.share, e.how] for e in found]
    blocks.append(Table("How it was computed", ("key", "share", "by"), table))
    return Section("Which keys mattered", "keys", blocks)


def _strip_chart(sweep: Sweep, rows: list[dict[str, Any]], key: str) -> Chart:
    """Draw the metric of every job above its setting of a key."""
    settings = [sweep.setting(row, key) for row in rows]
    values = [row["metrics"][sweep.metric] for row in rows]
    numbers = as_numbers(settings)
    x: Sequence[Any] = [figures.literal(setting) for setting in settings]
    kind = {"type": "category", "categoryorder": "category ascending"}
    if numbers is not None and len(set(numbers)) > 2:
        x, kind = numbers, {"type": "log" if _spans(numbers) else "linear"}
    points = figures.scatter(
        x, values, "jobs", mode="markers", marker={"size": 9, "opacity": 0.75}, text=[sweep.label(row) for row in rows]
    )
    drawn = figures.figure([points], key, sweep.metric or "", xaxis=kind, hovermode="closest", showlegend=False)
    means = {s: np.mean([v for o, v in zip(settings, values, strict=True) if o == s]) for s in sorted(set(settings))}
    told = ", ".join(f"{number(float(mean))} for {name or 'none'}" for name, mean in list(means.items())[:6])
    return Chart(f"{sweep.metric} by {key}", drawn, f"Mean of the jobs: {told}.", height=280)


def _cost(sweep: Sweep) -> Section | None:
    rows = [row for row in sweep.measured if isinstance(row.get("seconds"), int | float)]
    if len(rows) < 2:
        return None
    seconds, values = [row["seconds"] for row in rows], [row["metrics"][sweep.metric] for row in rows]
    points = figures.scatter(
        seconds, values, "jobs", mode="markers", marker={"size": 10}, text=[sweep.label(row) for row in rows]
    )
    drawn = figures.figure([points], "seconds of the job", sweep.metric or "", hovermode="closest", showlegend=False)
    text = (
        f"The best took {number(seconds[0])} s; the quickest, {sweep.label(rows[seconds.index(min(seconds))])}, "
        f"{number(min(seconds))} s."
    )
    return Section("Quality against cost", "cost", [Chart("Each job's value and its time", drawn, text, wide=True)])


def _samples(sweep: Sweep) -> Section | None:
    """The first rows of the last grid of the best jobs."""
    parts, drawn = [], []
    for row in sweep.measured[:BEST] or sweep.rows[:BEST]:
        files = RunFiles(RunDirectory(sweep.directory / row["job"]))
        images, columns = sample_tiles(files), files.callback("samples").get("columns")
        if images is None or not isinstance(columns, int):
            continue
        value = row["metrics"].get(sweep.metric)
        label = sweep.label(row) + (f": {number(value)}" if value is not None else f": {row['state']}")
        shown = laid_out(images[: GRID_ROWS * columns], columns)
        parts.append((label, picture(shown, f"Samples of {label}", min(images.shape[1:3]))))
        drawn.append((sweep.label(row), files))
    if not parts:
        return None
    text = f"The first rows of each job's last grid, the best job first. {same_noise(drawn)}".strip()
    return Section("Best samples", "samples", [Shown("Samples side by side", parts, text)])


def _again(sweep: Sweep) -> Section | None:
    path = sweep.directory / COMMAND
    if not path.is_file():
        return None
    lines = path.read_text("utf-8", "replace").strip()
    return Section("How to run it again", "again", [
        Code("The sweep", lines, "It goes on after an interruption: finished jobs are left alone."),
        Code("Write this page anew", f"make report sweep={sweep.directory}"),
    ])  # fmt: skip

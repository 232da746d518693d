"""The report: results.json with all figures, results.md with tables and what was wanted, plots as PNG."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.rounds import Spread
from bench.rows import Row

LEGEND = (
    "Medians over rounds, quartiles in brackets. `x` is what a side takes as a multiple of what Inkwash took in the "
    "same round: more than 1 where Inkwash is better. `x CPU` is the same by processor time, which other processes "
    "disturb less. `MiB` is the process's greatest resident memory."
)


def write(out: Path, name: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write NAME.json, NAME.md and plots to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    plain = {**facts, "rows": [row.plain() for row in rows]}
    (out / f"{name}.json").write_text(json.dumps(plain, indent=1) + "\n")
    plots = plot(out, name, rows)
    (out / f"{name}.md").write_text(markdown(facts, rows, plots))


def markdown(facts: Mapping[str, Any], rows: Sequence[Row], plots: Sequence[str] = ()) -> str:
    """Return the report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [f"# {facts['title']}", "", f"`{facts['command']}`, {facts['date']}, commit {facts['commit']}.", ""]
    gpu = f"GPU: {facts['device']}. " if "device" in facts else ""
    lines += [f"{gpu}{facts['processor']}, {facts['cores']} cores ({', '.join(facts['flags'])}); {versions}.", ""]
    lines += [_busy(facts), "", LEGEND, ""]
    if facts["quick"]:
        lines += ["Everything ran at its smallest size, to see that it runs: these figures mean nothing.", ""]
    parts = list(dict.fromkeys(row.part for row in rows))
    targets = [row for row in rows if row.target and not facts["quick"]]
    if targets:
        lines += ["## What was wanted", "", "| what | wanted | measured | reached |", "|---|---|---|---|"]
        lines += [
            f"| {row.part}, {row.case}: {row.side} | {row.target} | {_met(row)} | {_yes(row)} |" for row in targets
        ]
        lines.append("")
    for part, of_part in groupby(sorted(rows, key=lambda row: parts.index(row.part)), key=lambda row: row.part):
        lines += [f"## {part[:1].upper()}{part[1:]}", "", *_table([*of_part]), ""]
    return "\n".join([*lines, *(f"![{plot}]({plot})" for plot in plots)]).rstrip() + "\n"


def _busy(facts: Mapping[str, Any]) -> str:
    busy = "other processes were running, so that figures vary more" if facts["busy"] else "the machine was quiet"
    before, after = facts["load"]
    sides = f"{facts['threads']} CPU threads for each side, {facts['rounds']} rounds"
    return f"{sides}. Load {before:.2f} before and {after:.2f} after: {busy}."


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["| case | side | takes | x | x CPU | MiB | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        value = f"{_spread(row.value)} {row.unit}" if row.value else ""
        peak = f"{row.peak:,.0f}" if row.peak else ""
        note = row.note.replace("|", "/")
        columns = (row.case, row.side, value, _spread(row.ratio), _spread(row.processor), peak, note)
        lines.append(f"| {' | '.join(columns)} |".replace("  ", " "))
    return lines


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return f"{spread.median:.3g}"
    return f"{spread.median:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def _met(row: Row) -> str:
    if row.measured:
        return row.measured
    if row.ratio and row.target.endswith("x"):
        return f"{_spread(row.ratio)}x"
    return f"{_spread(row.value)} {row.unit}" if row.value else row.note


def _yes(row: Row) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[row.reached]


def plot(out: Path, name: str, rows: Sequence[Row]) -> list[str]:
    """Plot ratios, costs against sizes and quality against time; returns the names of the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    wanted = {
        "ratios": (_ratios, [r for r in rows if r.part in ("training", "sampling", "data") and r.ratio]),
        "costs": (_costs, [r for r in rows if r.part.startswith("cost against") and r.value and "ranks" not in r.part]),
        "quality": (_quality, [r for r in rows if r.part == "quality" and r.value]),
    }
    files = []
    for kind, (draw, chosen) in wanted.items():
        if chosen:
            figure = draw(plt, chosen)
            files.append(f"{name}-{kind}.png")
            figure.savefig(out / files[-1], dpi=100, bbox_inches="tight", metadata={"Software": None})
            plt.close(figure)
    return files


def _ratios(plt: Any, rows: Sequence[Row]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(rows) + 1))
    for i, row in enumerate(reversed(rows)):
        assert row.ratio is not None
        errors = [[row.ratio.median - row.ratio.low], [row.ratio.high - row.ratio.median]]
        axes.errorbar(row.ratio.median, i, xerr=errors, fmt="o", color="C0" if row.side.startswith("Inkwash") else "C1")
    axes.set_yticks(range(len(rows)), [f"{row.part}, {row.case}: {row.side}" for row in reversed(rows)], fontsize=7)
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_xscale("log")
    _ticks(axes.xaxis, (0.8, 1, 1.5, 2, 3, 5, 10, 20, 30))
    axes.set_xlabel("time as a multiple of Inkwash's")
    return figure


def _costs(plt: Any, rows: Sequence[Row]) -> Any:
    parts = list(dict.fromkeys(row.part for row in rows))
    figure, axes = plt.subplots(1, len(parts), figsize=(4 * len(parts), 3), squeeze=False)
    for axis, part in zip(axes[0], parts, strict=True):
        for side in dict.fromkeys(row.side for row in rows if row.part == part):
            points = [(float(r.case), r.value.median) for r in rows if (r.part, r.side) == (part, side) and r.value]
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=side)
        axis.set(title=part, xscale="log", yscale="log", ylabel="ms a step")
        _ticks(axis.xaxis, sorted({float(row.case) for row in rows if row.part == part}))
        low, high = axis.get_ylim()
        _ticks(axis.yaxis, [y for y in (20, 50, 100, 200, 500, 1000, 2000, 5000) if low <= y <= high])
        axis.legend(fontsize=7)
    return figure


def _ticks(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis with plain numbers at these values only."""
    low, high = axis.get_view_interval()
    shown = [value for value in values if low <= value <= high]
    axis.set_ticks(shown, [f"{value:g}" for value in shown])
    axis.set_ticks([], minor=True)


def _quality(plt: Any, rows: Sequence[Row]) -> Any:
    figure, axes = plt.subplots(figsize=(6, 4))
    for side in dict.fromkeys(row.side for row in rows):
        points = [(float(r.case.split()[0]), r.value.median) for r in rows if r.side == side and r.case and r.value]
        if points:
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=side)
    for row in rows:
        if not row.case and row.value:
            axes.axhline(row.value.median, color="gray", linewidth=0.8, label=row.side)
    axes.set(xlabel="seconds of training", ylabel="Frechet distance to held-out digits", yscale="log")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure

"""Draw a study: its main metric against a setting, or row above row."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labbook import interval
from labbook.results import Entry
from labbook.study import Study

Point = tuple[float, float, tuple[float, float]]


def draw(study: Study, entries: Sequence[Entry], path: Path) -> None:
    """Write a PNG with the mean over seeds of the first metric, and its interval as bars.

    Distances by several judges are drawn as multiples of their floors.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    from labbook.page import groups, in_floors, of_several_judges, values

    metric, x = study.metrics[0], study.plot.get("x")
    grouped = {key: group for key, group in groups(study, entries).items() if values(group, metric)}
    several = of_several_judges(study, entries)
    found = {key: in_floors(group) if several else values(group, metric) for key, group in grouped.items()}
    calls = {key: group[0]["evaluations"] for key, group in grouped.items()}
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    if x is None:
        for place, numbers in enumerate(found.values()):
            mean, low, high = _bar(numbers)
            axes.errorbar(mean, -place, xerr=[[low], [high]], fmt="o", color="C0", capsize=3)
        axes.set_yticks([-i for i in range(len(found))], [_label(study, key) for key in found])
        axes.set_xscale("log") if study.plot.get("log") else axes.set_xlim(left=0)
        floor_line, name_axis = axes.axvline, axes.set_xlabel
    else:
        lines = series(study, found, calls, x)
        for number, (label, points) in enumerate(lines.items()):
            places, means = [point[0] for point in points], [point[1] for point in points]
            bars = [[point[2][0] for point in points], [point[2][1] for point in points]]
            dashes = "--" if number >= 10 else "-"  # the colours begin anew
            axes.errorbar(places, means, yerr=bars, marker="o", linestyle=dashes, capsize=3, label=label)
        axes.set(xlabel=x, xscale="log" if study.plot.get("log_x", True) else "linear")
        axes.set_yscale("log") if study.plot.get("log") else axes.set_ylim(bottom=0)
        places = sorted({place for points in lines.values() for place, *_ in points})
        apart = 0.05 * (places[-1] - places[0]) if study.plot.get("log_x") is False else 0
        ticks = [b for a, b in zip([-math.inf, *places], places, strict=False) if b - a > max(apart, 0.1 * b)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(fontsize="small", ncols=2)
        floor_line, name_axis = axes.axhline, axes.set_ylabel
    floor = 1 if several else entries[0]["floor"]
    if floor and metric == "fd":
        floor_line(floor, color="gray", linestyle=":")
    if study.plot.get("log"):  # a whole decade between labels may be all that there is
        value_axis = axes.xaxis if x is None else axes.yaxis
        value_axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        value_axis.set_major_formatter("{x:g}")
        value_axis.set_minor_formatter(NullFormatter())
    distance = "distance" + (", in multiples of that of real images" if several else " (dotted: that of real images)")
    name_axis({"fd": distance}.get(metric, metric))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bar(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean and how far its interval reaches below and above."""
    mean = statistics.fmean(numbers)
    low, high = interval.of_mean(numbers) or (mean, mean)
    return mean, mean - low, high - mean


def series(
    study: Study, found: dict[tuple[Any, ...], list[float]], calls: dict[tuple[Any, ...], float], x: str
) -> dict[str, list[Point]]:
    """Return the points of each line, (x, mean, (below, above)), along the evaluations of the network or a setting.

    Args:
        found, calls: values and evaluations, by row and varied settings.
        x: evaluations, or the key of a varied setting or of the rows' overrides.
    """
    lines: dict[str, list[Point]] = {}
    for key, numbers in found.items():
        row, *cell = key
        settings = dict(zip(study.varied, cell, strict=True))
        words = dict(word.split("=", 1) for word in study.rows[row] if "=" in word)
        here = {**words, **settings, "evaluations": calls[key]}
        if x not in here:
            continue
        steps = "spacing.steps" if x == "evaluations" else x  # what makes the evaluations
        others = [str(value) for name, value in settings.items() if name not in (x, steps)]
        if x in words:
            others += [word for word in study.rows[row] if not word.startswith(f"{x}=")]
        elif len(study.rows) > 1:
            others += [row]
        mean, low, high = _bar(numbers)
        place = float(here[x])
        lines.setdefault(" ".join(others) or study.title, []).append((place, mean, (low, high)))
    return {name: sorted(points) for name, points in lines.items()}


def _label(study: Study, key: tuple[Any, ...]) -> str:
    row, *cell = key
    return ", ".join([*([row] if len(study.rows) > 1 else []), *map(str, cell)])

"""Write the results of an evaluation as tables and a plot."""

import csv
import itertools
import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inkwash.files import replacing, write_text
from inkwash.metrics.summary import summarise
from inkwash.reports.console import print_table
from inkwash.reports.evaluation_lines import SEED, Results, along_evaluations, remaining
from inkwash.runs.best import lower_is_better, main_metric, sign_of

# Shown on the terminal beside the values that have a best: it has no room for all that the files hold.
ALSO_SHOWN = ("memorised", "bits_per_dim")


def rows(results: Results) -> list[dict[str, Any]]:
    """Return a flat row for each result, in the order of `ranked`: settings, cost, every value."""
    facts = ("sampler", "steps", "guidance", "seed", "weights", "num_images", "evaluations", "seconds")
    in_order = itertools.chain.from_iterable(ranked(results).values())
    return [{"name": r["name"], **{key: r[key] for key in facts}, **r["metrics"]} for r in in_order]


def ranked(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the results by the metric that decides on them, the best first; "" for those without metrics, at the end.

    A metric's name has the number of images, which its value depends on: the bias of a Frechet distance goes as 1/n. So
    results of other numbers are apart, not ranked against each other.
    """
    directions, groups = directions_of(results), {}
    for r in results:
        main = main_metric({name: lower for name, lower in directions.items() if name in r["metrics"]})
        groups.setdefault(main or "", []).append(r)
    return {
        main: sorted(groups[main], key=lambda r: sign_of(directions.get(main)) * r["metrics"].get(main, 0.0))
        for main in sorted(groups, key=lambda main: (not main, directions.get(main) is None))
    }


def directions_of(results: Results) -> dict[str, bool | None]:
    """Return whether less is better of each value of any result, in order."""
    return {
        name: lower_is_better({"name": name, **r["records"].get(name, {})}) for r in results for name in r["metrics"]
    }


def over_seeds(results: Results) -> list[dict[str, Any]]:
    """Return mean and standard deviation of results that differ only in their seed, for two seeds or more."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in results:
        same = {key: r[key] for key in ("sampler", "steps", "guidance", "weights", "num_images")}
        groups.setdefault(json.dumps([same, remaining(r["name"], *SEED)]), []).append(r)
    summaries = []
    for key, members in groups.items():
        if len(members) > 1:
            summary = summarise([r["metrics"] for r in members])
            name = json.loads(key)[1] or members[0]["sampler"]
            summaries.append({"name": f"{name}, {len(members)} seeds", "metrics": summary})
    return summaries


def write_tables(directory: Path, results: Results, refused: Mapping[str, str] | None = None) -> None:
    """Write table.json with every record, table.csv with the values, and seeds.json if there are several seeds.

    Args:
        refused: the reasons of cells that could not be measured, by name: rows of table.csv.
    """
    (directory / "seeds.json").unlink(missing_ok=True)
    write_text(directory / "table.json", json.dumps(list(results), indent=2) + "\n")
    if groups := over_seeds(results):
        plain = [{"name": g["name"], **{k: asdict(v) for k, v in g["metrics"].items()}} for g in groups]
        write_text(directory / "seeds.json", json.dumps(plain, indent=2) + "\n")
    flat = [*rows(results), *({"name": name, "refused": reason} for name, reason in (refused or {}).items())]
    path = directory / "table.csv"
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in flat for key in row)))
        writer.writeheader()
        writer.writerows(flat)


def console_table(results: Results, refused: Mapping[str, str] | None = None) -> None:
    """Print the table, the best first, and below it the notes of the records and why cells were refused."""
    refused = refused or {}
    names = list(dict.fromkeys(name for r in results for name in r["metrics"]))
    directions = directions_of(results)
    shown = [n for n in names if directions[n] is not None or n.startswith(ALSO_SHOWN)]
    intervals = {n: interval_of(n, names) for n in shown}
    lines = [
        [row["name"], _number(row["evaluations"]), *(_cell(row, n, intervals[n]) for n in shown)]
        for row in rows(results)
    ]
    for group in over_seeds(results):
        means = (group["metrics"].get(n) for n in shown)
        lines.append([group["name"], "", *("" if m is None else f"{m.mean:.4g} +- {m.std:.2g}" for m in means)])
    lines += [[name, "refused", *([""] * len(shown))] for name in refused]
    suffix = _common_suffix(shown)
    print_table([suffix and f"*{suffix}", "evaluations", *(n.removesuffix(suffix) for n in shown)], lines)
    notes = {(name, note) for r in results for name, record in r["records"].items() for note in record["notes"]}
    for name, note in [*sorted(notes), *refused.items()]:
        print(f"{name}: {note}")


def _common_suffix(names: list[str]) -> str:
    """Return what all names of two or more end in, `_classifier_1k` for example: a heading has it once."""
    if len(names) < 2:
        return ""
    ends = zip(*(reversed(name.split("_")[1:]) for name in names), strict=False)
    common = [f"_{parts[0]}" for parts in itertools.takewhile(lambda parts: len({*parts}) == 1, ends)]
    return "".join(reversed(common))


def interval_of(name: str, names: list[str]) -> tuple[str, str] | None:
    """Return the names of a value's interval, fd_low_classifier_1k of fd_classifier_1k, or None if there is none."""
    key, _, rest = name.partition("_")
    low, high = f"{key}_low_{rest}", f"{key}_high_{rest}"
    return (low, high) if low in names and high in names else None


def _cell(row: dict[str, Any], name: str, interval: tuple[str, str] | None) -> str:
    text = _number(row.get(name))
    if interval and row.get(interval[0]) is not None:
        text += f" ({_number(row[interval[0]])}-{_number(row[interval[1]])})"
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def plot_quality(path: Path, results: Results) -> None:
    """Plot the main metric against network evaluations, a line for all that differ only in seed and number of steps.

    Points are means over the seeds, bars their range. No file for a single point.
    """
    metric = main_metric(directions_of(results)) or ""
    points = along_evaluations(metric, [r for r in results if r["evaluations"]])
    path.unlink(missing_ok=True)  # of an evaluation with other settings in the same folder
    if sum(map(len, points.values())) < 2:
        return
    # Imported here: it takes half a second, and most evaluations have one point.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for line, found in sorted(points.items()):
        x = sorted(found)
        values = [[r["metrics"][metric] for r in found[k]] for k in x]
        means = [statistics.fmean(v) for v in values]
        # At least 0: the mean of equal numbers may differ from them by a rounding, which matplotlib refuses.
        ends = [[max(0.0, m - min(v)) for m, v in zip(means, values, strict=True)]]
        ends += [[max(0.0, max(v) - m) for m, v in zip(means, values, strict=True)]]
        axes.errorbar(x, means, yerr=ends if any(map(any, ends)) else None, marker="o", capsize=3, label=line)
    axes.set(xscale="log", yscale="log", xlabel="network evaluations for each image", ylabel=metric)
    ticks = sorted({k for values in points.values() for k in values})
    axes.set_xticks(ticks, [f"{k:g}" for k in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)

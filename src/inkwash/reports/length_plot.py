"""Plot the quality of averages of the weights against their length."""

import statistics
from itertools import cycle
from pathlib import Path

from inkwash.reports.evaluation_lines import SEED, Results, remaining
from inkwash.reports.evaluation_table import directions_of
from inkwash.runs.averages import length_in
from inkwash.runs.best import main_metric


def plot_lengths(path: Path, results: Results) -> None:
    """Plot the main metric against the length of posthoc averages, and that of other weights as lines.

    Each setting has a line, and a colour, of its own; points are means over the seeds. No file if no setting has two
    lengths.
    """
    path.unlink(missing_ok=True)  # of an evaluation with other settings in the same folder
    metric = main_metric(directions_of(results)) or ""
    settings = mean_values(metric, results)
    if all(sum(length_in(weights) is not None for weights in means) < 2 for means in settings.values()):
        return
    import matplotlib  # not at the top: it takes half a second

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    others = sorted({weights for means in settings.values() for weights in means if length_in(weights) is None})
    dashes = dict(zip(others, cycle(("--", ":", "-.")), strict=False))
    for i, (setting, means) in enumerate(sorted(settings.items())):
        name = setting if len(settings) > 1 else ""
        lengths = {length: means[weights] for weights in means if (length := length_in(weights)) is not None}
        x = sorted(lengths)
        if x:
            axes.plot(x, [lengths[length] for length in x], f"C{i}", marker="o", label=name or "reconstructed")
        for weights in sorted(means.keys() & dashes.keys()):
            label = f"{name}, {weights}" if name else weights
            axes.axhline(means[weights], color=f"C{i}", linestyle=dashes[weights], label=label)
    axes.set(xlabel="length of the average (standard deviation over the number of steps)", ylabel=metric)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def mean_values(metric: str, results: Results) -> dict[str, dict[str, float]]:
    """Return the mean of a metric over the seeds by setting, what tells cells apart beside the weights, and weights."""
    found: dict[str, dict[str, list[float]]] = {}
    for r in results:
        if (value := r["metrics"].get(metric)) is not None:
            setting = remaining(r["name"], *SEED, "weights")
            found.setdefault(setting, {}).setdefault(r["weights"], []).append(value)
    return {
        setting: {weights: statistics.fmean(values) for weights, values in of_weights.items()}
        for setting, of_weights in found.items()
    }

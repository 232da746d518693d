"""Plot the quality of averages of the weights against their length."""

from pathlib import Path

from inkwash.reports.evaluation_lines import Results
from inkwash.reports.evaluation_table import main_value
from inkwash.runs.averages import length_in


def plot_lengths(path: Path, results: Results) -> None:
    """Plot the main metric against the length of posthoc averages, and that of other weights as lines.

    No file for fewer than two lengths.
    """
    path.unlink(missing_ok=True)  # of an evaluation with other settings in the same folder
    scores: dict[str, list[float]] = {}
    for result in results:
        if found := main_value(result):
            scores.setdefault(result["weights"], []).append(found[1])
    means = {weights: sum(values) / len(values) for weights, values in scores.items()}
    lengths = {length: means[weights] for weights in means if (length := length_in(weights)) is not None}
    if len(lengths) < 2:
        return
    import matplotlib  # not at the top: it takes half a second

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(*zip(*sorted(lengths.items()), strict=True), marker="o", label="reconstructed")
    for i, weights in enumerate(sorted(weights for weights in means if length_in(weights) is None)):
        axes.axhline(means[weights], color=f"C{i + 1}", linestyle="--", label=weights)
    metric = next(found[0] for result in results if (found := main_value(result)))
    axes.set(xlabel="length of the average (standard deviation over the number of steps)", ylabel=metric)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)

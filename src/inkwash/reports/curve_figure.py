"""Loss and metrics of a run as a matplotlib figure, for notebooks. Without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from inkwash.runs.best import FLOOR

LOSSES = {"train/loss": "training", "heldout/loss": "held out"}
COLUMNS = 3  # panels in a row
NO_CURVE = ("metrics/seconds", "_heldout_accuracy", FLOOR)  # ends of names of values that are no curves of a metric


def draw_curves(rows: Sequence[Mapping[str, float]]) -> Any:
    """Return a figure with a panel for the losses and one for each metric, real images' distance as a dashed line.

    Args:
        rows: a dictionary for each step, of `step` and the values logged then by their names in metrics.csv.
    """
    # Imported here: a second, and only where something is drawn. pyplot shows the figure in a notebook.
    from matplotlib import pyplot

    names = dict.fromkeys(name for row in rows for name in row if name.startswith("metrics/"))
    metrics = [name for name in names if not name.endswith(NO_CURVE)]
    wide = min(COLUMNS, 1 + len(metrics))
    high = -(-(1 + len(metrics)) // wide)
    figure, axes = pyplot.subplots(high, wide, figsize=(4 * wide, 3 * high), squeeze=False, layout="constrained")
    loss, *others = axes.flat
    for name, label in LOSSES.items():
        _draw(loss, rows, name, label)
    loss.set(title="loss", xlabel="step")
    if loss.lines:
        loss.legend()
    for panel, name in zip(others, metrics, strict=False):
        _draw(panel, rows, name, "drawn images")
        floor = next((row[f"{name}{FLOOR}"] for row in rows if f"{name}{FLOOR}" in row), None)
        if floor is not None:
            panel.axhline(floor, color="grey", linestyle="--", label=f"real images {floor:.4g}")
        panel.set(title=name.removeprefix("metrics/"), xlabel="step")
        panel.set_ylim(bottom=0)
        panel.legend()
    for panel in others[len(metrics) :]:
        panel.remove()
    pyplot.close(figure)  # else a notebook shows it twice
    return figure


def _draw(panel: Any, rows: Sequence[Mapping[str, float]], name: str, label: str) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        panel.plot(
            *zip(*points, strict=True), marker="o" if len(points) < COLUMNS * 10 else "", markersize=3, label=label
        )

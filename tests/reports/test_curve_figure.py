"""Curves of a run as a matplotlib figure."""

from inkwash.reports.curve_figure import draw_curves

ROWS = [
    {"step": 0, "metrics/fd_x_8_of_train_images": 0.5, "metrics/x_heldout_accuracy": 1.0},
    {"step": 1, "train/loss": 1.0},
    {"step": 2, "train/loss": 0.5, "heldout/loss": 0.6, "metrics/fd_x_8": 3.0, "metrics/seconds": 9.0},
    {"step": 4, "train/loss": 0.4, "metrics/fd_x_8": 2.0},
]


def test_a_panel_for_losses_and_one_for_each_metric():
    losses, metric = draw_curves(ROWS).axes
    assert [(line.get_label(), line.get_xydata().tolist()) for line in losses.lines] == [
        ("training", [[1, 1.0], [2, 0.5], [4, 0.4]]),
        ("held out", [[2, 0.6]]),
    ]
    drawn, floor = metric.lines
    assert drawn.get_xydata().tolist() == [[2, 3.0], [4, 2.0]]
    assert (floor.get_label(), [*floor.get_ydata()]) == ("real images 0.5", [0.5, 0.5])
    assert (metric.get_title(), metric.get_xlabel()) == ("fd_x_8", "step")


def test_nothing_logged_yet():
    assert len(draw_curves([]).axes) == 1

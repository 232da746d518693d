"""The distance of the averaged weights from the weights."""

from support.training import QUIET, rows


def test_average_of_the_first_step_is_the_step_and_then_lags(fit_run):
    directory, _, _ = fit_run("run", *QUIET, "callbacks.ema_distance.every_n_steps=1")
    found = [row["train/ema_distance"] for row in rows(directory) if "train/ema_distance" in row]
    assert found[0] == 0
    assert all(0 < value < 0.2 for value in found[1:])

"""The training's own values; the time between ranks is measured in tests/robustness."""

import math

import pytest
from torch import nn

from inkwash.training.callbacks.training_log import communication
from support.training import QUIET, rows


def test_the_learning_rate_is_that_of_the_step(fit_run):
    """A warm-up of 4 steps to 0.004: the schedule has stepped before the line is written."""
    schedule = ("learning_rate=warmup", "learning_rate.warmup_steps=4", "optimizer.lr=0.004")
    directory, _, _ = fit_run("run", *QUIET, *schedule, "callbacks.log.every_n_steps=1")
    rates = [row["train/learning_rate"] for row in rows(directory) if "train/learning_rate" in row]
    assert rates == pytest.approx([0.002, 0.003, 0.004, 0.004])


def test_one_process_has_no_communication():
    assert math.isnan(communication(nn.Linear(1, 1)))

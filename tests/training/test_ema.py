"""Averaged weights."""

import torch

from inkwash.run import load_run
from support.training import NO_METRIC, weights


def test_average_of_the_first_step_is_the_step(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC, "trainer.max_steps=1")
    raw, average = (load_run(directory, weights=w).denoiser for w in ("raw", "ema"))
    assert torch.equal(weights(raw), weights(average))

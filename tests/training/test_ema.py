"""Averaged weights."""

import pytest
import torch

from inkwash.run import load_run
from inkwash.training.ema import ConstantDecay
from support.training import NO_METRIC, weights


def test_constant_decay_warms_up():
    """0, then n / (9 + n), up to the constant."""
    decay = ConstantDecay(0.99)
    assert [decay(n) for n in (1, 2, 9, 891, 10_000)] == pytest.approx([0, 2 / 11, 0.5, 0.99, 0.99], rel=1e-12)


def test_average_of_the_first_step_is_the_step(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC, "trainer.max_steps=1")
    raw, average = (load_run(directory, weights=w).denoiser for w in ("raw", "ema"))
    assert torch.equal(weights(raw), weights(average))

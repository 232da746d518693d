"""Averaged weights."""

import pytest
import torch

from inkwash.run import load_run
from inkwash.training.ema import ConstantDecay, update
from support.training import NO_METRIC, weights


def test_constant_decay_warms_up():
    """0, then n / (9 + n), up to the constant."""
    decay = ConstantDecay(0.99)
    assert [decay(n) for n in (1, 2, 9, 891, 10_000)] == pytest.approx([0, 2 / 11, 0.5, 0.99, 0.99], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_average_keeps_its_digits_whatever_the_weights_have(dtype):
    average, weights = torch.tensor([1.0, -2.0]), torch.tensor([1.5, 3.0], dtype=dtype)
    update([average], [weights], 0.99)
    torch.testing.assert_close(average, torch.tensor([1.005, -1.95]), rtol=1e-6, atol=0)


def test_average_of_the_first_step_is_the_step(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC, "trainer.max_steps=1")
    raw, average = (load_run(directory, weights=w).denoiser for w in ("raw", "ema"))
    assert torch.equal(weights(raw), weights(average))

"""Precisions."""

import pytest
import torch

from support.selection import mostly_slow
from support.training import NO_METRIC, weights


@pytest.mark.parametrize("precision", mostly_slow(["bf16-mixed", "bf16-true", "32-true"], "bf16-mixed"))
def test_precisions_stay_finite_with_exact_tables(fit_run, precision):
    _, _, module = fit_run("run", NO_METRIC, f"trainer.precision={precision}", "trainer.max_steps=20")
    assert bool(weights(module.denoiser).isfinite().all())
    # A bf16 average would round every small change away.
    assert all(p.dtype == torch.float32 for p in module.ema_denoiser.parameters())
    distance = (weights(module.ema_denoiser) - weights(module.denoiser).float()).norm()
    assert 0 < distance < 0.1 * weights(module.denoiser).float().norm()
    assert module.denoiser.schedule.alpha.dtype == torch.float64
    assert module.ema_denoiser.schedule.sigma.dtype == torch.float64

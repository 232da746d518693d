"""The bound and the losses made of it against improved-diffusion, on the same noise."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.likelihood.bound import (
    TanhDiscretizedGaussian,
    VariationalBound,
    variational_bound,
)
from inkwash.losses.distances import L2
from inkwash.losses.vlb import HybridLoss, VLBLoss
from inkwash.process.betas import linear
from inkwash.process.predictions import Eps
from inkwash.process.schedules import BetaSchedule
from inkwash.process.times import Stratified
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.process.weightings import Uniform

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "improved_diffusion_bound.json").read_text())
VARIANCES = {"fixed_large": FixedLarge(), "fixed_small": FixedSmall(), "learned_range": LearnedRange()}
T = 40
INDEX = torch.arange(2 * 3 * 4 * 4, dtype=torch.float64).view(2, 3, 4, 4)
X_0 = (7 * INDEX**2 + 13 * INDEX) % 256 / 127.5 - 1


def noise_at(t):
    return math.sqrt(2) * torch.sin(1.7 * INDEX + 0.3 * (t - 1))


class Formula(nn.Module):
    """The function that improved-diffusion was given; it counts t from 0."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x, time, y=None):
        t = (time.double() * T / 1000).round().view(-1, 1, 1, 1)
        heads = [torch.tanh(x) + 0.05 * torch.sin(t / 5), 0.6 * torch.cos(INDEX + t / 10)]
        return torch.cat(heads[: self.heads], dim=1)


def golden_denoiser(name):
    return Denoiser(Formula(1 + (name == "learned_range")), BetaSchedule(linear(T, scale_with_T=True)), Eps())


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", VARIANCES)
def test_bound_equals_improved_diffusions(name):
    """calc_bpd_loop: every term at every t, whose tables are float32."""
    feed = iter([noise_at(t) for t in range(T, 0, -1)])
    bound = VariationalBound(VARIANCES[name], TanhDiscretizedGaussian())
    found = variational_bound(golden_denoiser(name), bound, X_0, None, lambda: next(feed))
    for key in ("terms", "prior", "total", "x_0_mse", "eps_mse"):
        torch.testing.assert_close(getattr(found, key), f64(GOLDEN[name][key]), rtol=2e-5, atol=2e-7, msg=key)


class Fixed:
    """Noise and times of a test's choice in place of random ones."""

    def __init__(self, t):
        self.t = t

    def normal(self, *shape):
        return noise_at(self.t)

    def strata(self, n):
        return torch.full((n,), (self.t - 0.5) / T, dtype=torch.float64)


@pytest.mark.parametrize("t", [1, 2, 21, 40])
@pytest.mark.parametrize("name", VARIANCES)
def test_training_on_the_bound_equals_improved_diffusions(name, t):
    """Their KL loss is one term; ours is T of them, as their RESCALED_KL."""
    loss = VLBLoss(VARIANCES[name], Stratified())
    loss.bound.decoder = TanhDiscretizedGaussian()
    terms = loss(golden_denoiser(name), X_0, None, Fixed(t))
    assert terms.t.tolist() == [t, t]
    expected = f64(GOLDEN[name]["training"][str(t)]["kl"])
    torch.testing.assert_close(terms.loss.double() / T, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("t", [1, 2, 21, 40])
def test_hybrid_loss_equals_improved_diffusions(t):
    """RESCALED_MSE with a learned range: mse + T / 1000 times a term."""
    loss = HybridLoss(L2(), Uniform(), Stratified())
    loss.bound.decoder = TanhDiscretizedGaussian()
    found = loss(golden_denoiser("learned_range"), X_0, None, Fixed(t)).loss
    expected = f64(GOLDEN["learned_range"]["training"][str(t)]["hybrid"])
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=1e-7)


def test_hybrid_bound_moves_the_variance_only():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.v = (nn.Parameter(torch.full((1, 3, 4, 4), 0.1, dtype=torch.float64)) for _ in "ab")

        def forward(self, x, time, y=None):
            return torch.cat([self.mean.expand_as(x), self.v.expand_as(x)], dim=1)

    denoiser = Denoiser(Two(), BetaSchedule(linear(T, scale_with_T=True)), Eps())

    def gradients(vlb_weight):
        loss = HybridLoss(L2(), Uniform(), Stratified(), vlb_weight=vlb_weight)(
            denoiser, X_0, None, Fixed(21)
        ).loss.sum()
        return torch.autograd.grad(loss, [denoiser.net.mean, denoiser.net.v])

    (mean, v), (mean_again, v_again) = gradients(0.001), gradients(0.002)
    assert torch.equal(mean, mean_again)
    assert bool((v != 0).all())
    torch.testing.assert_close(v_again, 2 * v, rtol=1e-5, atol=0)  # the bound is summed in float32

"""The simple loss against expectations that can be worked out."""

import math

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.distances import L2, PseudoHuber
from inkwash.losses.simple import DiffusionLoss
from inkwash.process.betas import linear
from inkwash.process.predictions import EDM, X0, Eps, V
from inkwash.process.schedules import BetaSchedule, EDMSchedule
from inkwash.process.times import SecondMoment, Stratified
from inkwash.process.times import Uniform as UniformTimes
from inkwash.process.weightings import MinSNR, Uncertainty, Uniform
from support.networks import Zero, draws

SCHEDULE = BetaSchedule(linear(1000))


def expected_l2(prediction, weighting):
    """E over t of w (a^2 + b^2) for a network that says 0, with x_0 of unit second moment."""
    alpha, sigma = SCHEDULE(torch.arange(1, 1001))
    a, b = prediction.coefficients(alpha, sigma)
    return (weighting(alpha, sigma, prediction.det(alpha, sigma)) * (a**2 + b**2)).mean().item()


@pytest.mark.parametrize("weighting", [Uniform(), MinSNR()], ids=["uniform", "min_snr"])
@pytest.mark.parametrize("prediction", [Eps(), X0(), V()], ids=lambda p: p.name)
def test_loss_of_the_zero_network(prediction, weighting):
    x_0 = torch.ones(20_000, 1, 4, 4)
    loss = DiffusionLoss(L2(), weighting, Stratified())
    terms = loss(Denoiser(Zero(), SCHEDULE, prediction), x_0, None, draws())
    assert terms.loss.shape == terms.t.shape == (20_000,)
    assert terms.loss.dtype == torch.float32
    assert terms.loss.mean().item() == pytest.approx(expected_l2(prediction, weighting), rel=0.02)


def test_simple_loss_is_mean_over_pixels():
    terms = DiffusionLoss(L2(), Uniform(), UniformTimes())(
        Denoiser(Zero(), SCHEDULE, Eps()), torch.zeros(4000, 3, 8, 8), None, draws()
    )
    assert terms.loss.mean().item() == pytest.approx(1, rel=0.01)


def test_the_distance_is_told_sigma_over_alpha():
    """Pseudo-Huber's c falls as it grows."""
    eps = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([1.0, 300, 1000])
    loss = DiffusionLoss(PseudoHuber(0.1), Uniform(), UniformTimes())
    found = loss.objective(Denoiser(Zero(), SCHEDULE, Eps()), torch.zeros_like(eps), eps, t, None)
    alpha, sigma = SCHEDULE(t)
    c = 0.1 + 0.9 / (1 + sigma / alpha) ** 2
    expected = (2 * c * ((eps**2 + c**2).sqrt() - c)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_simple_loss_of_an_unbounded_target_is_refused():
    """On EDM's path v = eps - sigma x_0, up to 6400 times as large squared; other weightings make up for it."""
    v, f = (Denoiser(Zero(), EDMSchedule(), prediction) for prediction in (V(), EDM()))
    largest, median = (0.002 * (80 / 0.002) ** u for u in (0.99, 0.49))  # of sigma at 100 fractions of the path
    ratio = (1 + largest**2) / (1 + median**2)
    with pytest.raises(UserError, match=f"v with weighting=uniform: .* is {ratio:.0f} times .* use prediction=edm"):
        DiffusionLoss(L2(), Uniform(), UniformTimes()).check(v, False)
    DiffusionLoss(L2(), MinSNR(), UniformTimes()).check(v, False)
    DiffusionLoss(L2(), Uniform(), UniformTimes()).check(f, False)


def test_importance_weights_keep_the_mean_of_the_loss():
    """Times drawn in proportion to the loss, each loss divided by how often: the mean is that of uniform times."""
    schedule = BetaSchedule(linear(100, scale_with_T=True))

    class Worse(nn.Module):
        """Errs more at small t, so that importance sampling has something to do."""

        def forward(self, x, time, y=None):
            return (20 / (time / 10 + 1)).view(-1, 1, 1, 1).to(x).expand_as(x)

    denoiser, x_0 = Denoiser(Worse(), schedule, X0()), torch.zeros(20_000, 1, 1, 1)
    plain = DiffusionLoss(L2(), Uniform(), Stratified())(denoiser, x_0, None, draws())
    times = SecondMoment(100)
    times.learn(plain.t, plain.raw)
    weighted = DiffusionLoss(L2(), Uniform(), times)(denoiser, x_0, None, draws())
    assert weighted.loss.mean().item() == pytest.approx(plain.loss.mean().item(), rel=0.01)
    assert weighted.loss.std() < plain.loss.std() / 5
    assert weighted.t.mean() < 20 < plain.t.mean()


def test_uncertainty_learns_the_log_of_the_error():
    """loss / exp(u) + u is least where u = log loss, whatever the network does."""
    weighting = Uncertainty(Uniform(), channels=32)
    loss = DiffusionLoss(L2(), weighting, Stratified())
    denoiser, x_0 = Denoiser(Zero(), SCHEDULE, X0()), torch.full((256, 1, 1, 1), 0.2)
    first = loss(denoiser, x_0, None, draws())
    torch.testing.assert_close(first.loss, torch.full((256,), 0.04))  # u = 0 at the start
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        total = loss(denoiser, x_0, None, draws()).loss.mean()
        total.backward()
        return total

    optimizer.step(closure)
    u = weighting.log_error(*SCHEDULE(first.t))  # the same draws every time
    torch.testing.assert_close(u.detach(), torch.full_like(u, math.log(0.04)), rtol=0, atol=0.05)

"""The loss against expectations that can be worked out."""

import math

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.distances import L1, L2, Huber, PseudoHuber
from inkwash.losses.simple import DiffusionLoss
from inkwash.losses.vlb import HybridLoss, VLBLoss
from inkwash.process.betas import linear
from inkwash.process.predictions import EDM, X0, Eps, V
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.times import SecondMoment, Stratified
from inkwash.process.times import Uniform as UniformTimes
from inkwash.process.variances import FixedLarge, LearnedRange
from inkwash.process.weightings import MinSNR, Uncertainty, Uniform
from inkwash.random import Draws, generator

SCHEDULE = BetaSchedule(linear(1000))


class Zero(nn.Module):
    def forward(self, x, time, y=None):
        self.y = y
        return torch.zeros_like(x)


def draws(n=1):
    return Draws([generator(0, "loss", k) for k in range(n)])


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


def test_distances():
    x, y, ratio = torch.tensor([0.0, 0.5, 3.0]), torch.zeros(3), torch.ones(3)
    assert L2()(x, y, ratio).tolist() == [0, 0.25, 9]
    assert L1()(x, y, ratio).tolist() == [0, 0.5, 3]
    assert Huber(1.0)(x, y, ratio).tolist() == [0, 0.125, 2.5]


def test_pseudo_huber_is_khrapov_et_als():
    """2 c (sqrt(d^2 + c^2) - c), with c from 1 at the data to c at pure noise."""
    d, zero = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for ratio, c in ((0.0, 1.0), (1.0, 0.1 + 0.9 / 4), (math.inf, 0.1)):
        found = PseudoHuber(0.1)(d, zero, torch.full((3,), ratio, dtype=torch.float64))
        torch.testing.assert_close(found, 2 * c * ((d**2 + c**2).sqrt() - c), rtol=1e-12, atol=1e-15)
    constant = PseudoHuber(0.1, scheduled=False)(d, zero, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(constant, 0.2 * ((d**2 + 0.01).sqrt() - 0.1), rtol=1e-12, atol=1e-15)


def test_pseudo_huber_keeps_small_errors():
    """About d^2, where float32 makes the textbook form 0."""
    d = torch.tensor([1e-5])
    assert PseudoHuber(0.5, scheduled=False)(d, torch.zeros(1), torch.ones(1)).item() == pytest.approx(1e-10, rel=1e-3)


def test_label_dropout_hides_its_share():
    net = Zero()
    loss = DiffusionLoss(L2(), Uniform(), UniformTimes(), label_dropout=0.1)
    y = torch.arange(10).repeat(1000)
    loss(Denoiser(net, SCHEDULE, Eps()), torch.zeros(10_000, 1, 1, 1), y, draws())
    hidden = net.y < 0
    assert hidden.float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert torch.equal(net.y[~hidden], y[~hidden])


def test_ranks_draw_what_one_process_draws():
    """Four shards: two ranks of two shards each see the times and noise of one process."""
    loss = DiffusionLoss(L2(), MinSNR(), Stratified())

    class Echo(nn.Module):
        def forward(self, x, time, y=None):
            return 0.5 * x

    denoiser = Denoiser(Echo(), SCHEDULE, V())
    x_0 = torch.randn(16, 1, 4, 4)
    shards = [generator(0, "loss", k) for k in range(4)]
    whole = loss(denoiser, x_0, None, Draws(shards, total=16))
    parts = []
    for rank in range(2):
        mine = [generator(0, "loss", k) for k in (2 * rank, 2 * rank + 1)]
        parts.append(loss(denoiser, x_0[8 * rank : 8 * rank + 8], None, Draws(mine, first=8 * rank, total=16)))
    assert torch.equal(whole.t, torch.cat([p.t for p in parts]))
    torch.testing.assert_close(whole.loss, torch.cat([p.loss for p in parts]))


def test_bad_arguments():
    with pytest.raises(UserError, match="label_dropout"):
        DiffusionLoss(L2(), Uniform(), UniformTimes(), label_dropout=1.5)
    with pytest.raises(UserError, match="delta"):
        Huber(0)
    with pytest.raises(UserError, match=r"loss.distance.c=2"):
        PseudoHuber(2)
    with pytest.raises(UserError, match="vlb_weight"):
        HybridLoss(L2(), Uniform(), UniformTimes(), vlb_weight=0)


def test_a_loss_refuses_what_it_cannot_train():
    chain, flow = Denoiser(Zero(), SCHEDULE, Eps()), Denoiser(Zero(), FlowSchedule(), V())
    simple = DiffusionLoss(L2(), Uniform(), UniformTimes())
    hybrid, vlb = HybridLoss(L2(), Uniform(), UniformTimes()), VLBLoss(LearnedRange(), UniformTimes())
    for loss, denoiser, learns, message in (
        (simple, chain, True, "needs a loss that trains the variance: loss=hybrid"),
        (VLBLoss(FixedLarge(), UniformTimes()), chain, True, "needs a loss that trains the variance"),
        (hybrid, chain, False, "loss=hybrid trains the reverse step's variance: pass model.learn_variance=true"),
        (vlb, chain, False, "pass model.learn_variance=true"),
        (hybrid, flow, True, "needs a chain of whole steps"),
        (vlb, flow, True, "needs a chain of whole steps"),
    ):
        with pytest.raises(UserError, match=message):
            loss.check(denoiser, learns)
    for loss, learns in ((simple, False), (hybrid, True), (vlb, True)):
        loss.check(chain, learns)


def test_a_simple_loss_of_a_target_that_grows_without_bound_is_refused():
    """On EDM's path v = eps - sigma x_0, up to 6400 times as large squared; other weightings make up for it."""
    v, f = (Denoiser(Zero(), EDMSchedule(), prediction) for prediction in (V(), EDM()))
    with pytest.raises(UserError, match="prediction=v with weighting=uniform: .* use prediction=edm"):
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

"""The loss against expectations that can be worked out."""

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.loss import L1, L2, DiffusionLoss, Huber
from inkwash.process.betas import linear
from inkwash.process.predictions import X0, Eps, V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.times import Stratified
from inkwash.process.times import Uniform as UniformTimes
from inkwash.process.weightings import MinSNR, Uniform
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
    x, y = torch.tensor([0.0, 0.5, 3.0]), torch.zeros(3)
    assert L2()(x, y).tolist() == [0, 0.25, 9]
    assert L1()(x, y).tolist() == [0, 0.5, 3]
    assert Huber(1.0)(x, y).tolist() == [0, 0.125, 2.5]


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

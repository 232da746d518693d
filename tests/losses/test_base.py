"""Training objectives: label dropout, equal draws on any number of ranks, refusals."""

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.distances import L2, Huber, PseudoHuber
from inkwash.losses.simple import DiffusionLoss
from inkwash.losses.vlb import HybridLoss, VLBLoss
from inkwash.process.betas import linear
from inkwash.process.predictions import Eps, V
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.times import Stratified
from inkwash.process.times import Uniform as UniformTimes
from inkwash.process.variances import FixedLarge, LearnedRange
from inkwash.process.weightings import MinSNR, Uniform
from inkwash.random import Draws, generator
from support.networks import Zero, draws

SCHEDULE = BetaSchedule(linear(1000))


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

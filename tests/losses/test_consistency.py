"""Consistency tuning against closed forms of a Gaussian, and what it needs."""

import pytest
import torch

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.consistency import ConsistencyLoss
from inkwash.nets.unet import UNet
from inkwash.process.betas import cosine
from inkwash.process.predictions import EDM, X0, Flow, V
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.times import LogNormal
from inkwash.process.weightings import MinSNR
from inkwash.training.build import build_module
from inkwash.training.initial_weights import take_weights
from support.analytic import GaussianJump, f64
from support.networks import Zero
from support.runs import composed

MU, STD = 0.3, 0.5
PATHS = [EDMSchedule(), FlowSchedule(), VPSchedule()]


def loss_of(**arguments):
    return ConsistencyLoss(LogNormal(), **{"total_steps": 8, **arguments})


def pictures(n, side=64):
    draw = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(n, 1, side, side, generator=draw, dtype=torch.float64) for _ in range(2))
    return MU + STD * x_0, eps


@pytest.mark.parametrize(
    ("stage", "values"),
    [
        (0, (0.0, 0.0, 4.998184085)),
        (3, (0.069998959374, 0.803029289315, 9.374773010656)),
        (7, (0.098124934961, 0.987689330582, 9.960923313166)),
    ],
)
def test_earlier_times_are_ects(stage, values):
    loss = loss_of()
    loss.at_step(stage)
    torch.testing.assert_close(loss.earlier(f64(0.1, 1, 10)), f64(*values), rtol=0, atol=1e-9)


def test_stages_share_the_steps():
    loss = loss_of(total_steps=400, stages=8)
    assert [loss.at_step(step) or loss.stage for step in (0, 49, 50, 399, 400, 5000)] == [0, 0, 1, 7, 7, 7]
    assert (loss_of(total_steps=400).stages, loss_of(total_steps=3).stages) == (8, 3)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize(("q", "expected"), [(2, 0.025658350974743), (10, 4.719208225e-4), (100, 4.0647267e-6)])
def test_loss_of_the_exact_function(q, expected, path):
    """At sigma / alpha = 1 and 1 - 1 / q: E |f(x_t) - f(x_r)|^2 is what the Gaussian says, on every path."""
    x_0, eps = pictures(64)
    loss = loss_of(q=q, k=0.0, stages=1)
    t = path.time_of(torch.ones(64, dtype=torch.float64))
    found = loss.objective(GaussianJump(path, MU, STD, s=0.0), x_0, eps, t, None) / q
    assert found.square().mean().item() == pytest.approx(expected, rel=0.01)


def test_at_the_end_of_the_path_images_are_the_target():
    """Stage 0 with k = 8 has r = 0 below sigma = 1.5: the root of the mean squared error of x_0, over sigma."""
    x_0, eps = pictures(3)
    denoiser, t = GaussianJump(EDMSchedule(), MU, STD, s=0.0), f64(0.01, 0.5, 1.0)
    found = loss_of().objective(denoiser, x_0, eps, t, None)
    error = denoiser(x_0 + t.view(-1, 1, 1, 1) * eps, t).x_0 - x_0
    torch.testing.assert_close(found, (error.square().mean((1, 2, 3)).sqrt() / t).float())
    rounded = loss_of(c=0.1).objective(denoiser, x_0, eps, t, None)
    d = error.square().mean((1, 2, 3))
    torch.testing.assert_close(rounded, (((d + 0.01).sqrt() - 0.1) / t).float())


def test_both_evaluations_drop_the_same_features():
    """For times next to each other the two estimates are the same, unless their masks differ."""
    torch.manual_seed(0)
    net = UNet((1, 8, 8), 8, [1], 1, [], dropout=0.5).train()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    denoiser, (x_0, eps) = Denoiser(net, EDMSchedule(), EDM()), (part.float() for part in pictures(16, 8))
    loss, t = loss_of(k=0.0, stages=1, q=1e5), torch.ones(16, dtype=torch.float64)
    torch.manual_seed(0)
    distance = loss.objective(denoiser, x_0, eps, t, None) / 1e5
    after = torch.rand(1)
    assert distance.max() < 1e-3
    one, other = (denoiser(x_0 + eps, t).x_0 for _ in range(2))
    assert (one - other).square().mean((1, 2, 3)).sqrt().min() > 0.05
    torch.manual_seed(0)
    denoiser(x_0 + eps, t)
    assert torch.equal(after, torch.rand(1))  # as if there had been one evaluation


def test_the_earlier_estimate_takes_no_gradient():
    net = UNet((1, 8, 8), 8, [1], 1, [])
    denoiser, (x_0, eps) = Denoiser(net, EDMSchedule(), EDM()), (part.float() for part in pictures(4, 8))
    t = torch.full((4,), 5.0, dtype=torch.float64)
    loss = loss_of(stages=1, q=8.0)
    loss.objective(denoiser, x_0, eps, t, None).sum().backward()
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    rho_r = loss.earlier(t)
    target = denoiser(x_0 + rho_r.view(-1, 1, 1, 1) * eps, rho_r).x_0.detach()
    error = denoiser(x_0 + 5 * eps, t).x_0 - target
    (error.square().mean((1, 2, 3)).sqrt() / (t - rho_r)).sum().backward()
    for mine, expected in zip(found, [p.grad for p in net.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(mine, expected)


def test_what_it_cannot_train_is_refused():
    loss = loss_of()
    chain = BetaSchedule(cosine(1000))
    for denoiser, learns, message in (
        (Denoiser(Zero(), chain, V()), False, "loss=consistency .* chain of whole steps .*schedule=edm"),
        (Denoiser(Zero(), FlowSchedule(), X0()), False, "^prediction=x0: .* pass prediction=edm"),
        (Denoiser(Zero(), EDMSchedule(), EDM()), True, "needs a loss that trains the variance"),
    ):
        with pytest.raises(UserError, match=message):
            loss.check(denoiser, learns)
    with pytest.raises(UserError, match=r"loss.stages=8 are more than the trainer.max_steps=7 .*: pass loss.stages=7"):
        loss_of(total_steps=7, stages=8).check(Denoiser(Zero(), FlowSchedule(), Flow()), False)
    for prediction in (Flow(), V()):
        loss.check(Denoiser(Zero(), FlowSchedule(), prediction), False)
    for arguments, message in (
        ({"stages": 0}, "loss.stages=0 must be at least 1"),
        ({"q": 1}, "loss.q=1 must be above 1"),
        ({"k": -1}, "loss.k=-1 must not be negative"),
        ({"weighting": MinSNR()}, "weighting=MinSNR beside it: pass weighting=uniform"),
    ):
        with pytest.raises(UserError, match=message):
            loss_of(**arguments)


def test_a_teacher_on_another_path_is_refused(tmp_path):
    small = ("model.channels=8", "schedule=edm", "prediction=edm")
    student = build_module(composed(*small, "loss=consistency"))
    for overrides, key in ((("schedule=flow", "prediction=flow"), "schedule._target_"), (small[1:], None)):
        teacher = build_module(composed(small[0], *overrides))
        checkpoint = {"state_dict": teacher.state_dict(), "global_step": 7, "config": teacher.config}
        if key is None:
            take_weights(tmp_path, checkpoint, student)
        else:
            with pytest.raises(UserError, match=rf"was trained with {key}=.*FlowSchedule, .* on the same schedule"):
                take_weights(tmp_path, checkpoint, student)

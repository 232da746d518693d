"""Guidance: the formulas of the papers, what they cost, and what is refused."""

import pytest
import torch
from diffusers.guiders.guider_utils import rescale_noise_cfg
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.editing.perform import InParts
from inkwash.errors import UserError
from inkwash.guidance import AdaptiveProjected, AutoGuidance, ClassifierFree, of_a_batch
from inkwash.guidance_scale import at_a_time, guided, scale_of
from inkwash.process.betas import cosine, linear
from inkwash.process.predictions import X0, Eps, V
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.spacing import Trailing
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM

SCHEDULE = BetaSchedule(linear(1000))


class Label(nn.Module):
    """A network that answers its label everywhere, -1 where it has none, and counts the images it is shown."""

    seen = 0

    def forward(self, x, time, y=None):
        self.seen += len(x)
        return (torch.full_like(time, -1) if y is None else y).view(-1, 1, 1, 1).to(x).expand_as(x)


class Wave(nn.Module):
    """A network whose output depends on all it is given."""

    def __init__(self, phase=0.0):
        super().__init__()
        self.phase = phase

    def forward(self, x, time, y=None):
        y = torch.full_like(time, -1) if y is None else y
        factor, term = 1 + 0.3 * y, 0.1 * torch.cos(time / 100) + 0.2 * y  # the label moves the mean and the spread
        return torch.sin(3 * x + self.phase) * factor.view(-1, 1, 1, 1).to(x) + term.view(-1, 1, 1, 1).to(x)


def example(n=4):
    x_t = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x_t, torch.tensor([1000.0, 700, 300, 20][:n], dtype=torch.float64), torch.arange(n)


def same(one, other):
    return torch.equal(one.x_0, other.x_0) and torch.equal(one.eps, other.eps)


# --- Scale ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_guidance_extrapolates_from_unconditional_to_conditional(scale):
    """c = 3, and -1 where there is no label."""
    x_t, t, y = torch.zeros(2, 1, 2, 2), torch.tensor([500.0, 20.0]), torch.tensor([3, 3])
    x_0, eps = ClassifierFree(Denoiser(Label(), SCHEDULE, X0()), scale)(x_t, t, y)
    torch.testing.assert_close(x_0, torch.full_like(x_0, -1 + scale * (3 + 1)))
    alpha, sigma = SCHEDULE(t)
    torch.testing.assert_close(eps, (-alpha / sigma).float() * x_0)


def test_scale_one_is_the_denoiser_itself_and_costs_no_more():
    denoiser = Denoiser(Label(), SCHEDULE, X0())
    assert guided(denoiser, 1.0) is denoiser
    assert isinstance(guided(denoiser, 2.0), ClassifierFree)
    assert same(ClassifierFree(denoiser, 1.0)(*example()), denoiser(*example()))
    assert denoiser.net.seen == 2 * 4


def test_guidance_without_labels_is_refused():
    x_t, t, _ = example()
    with pytest.raises(UserError, match="guidance needs class labels"):
        ClassifierFree(Denoiser(Label(), SCHEDULE, X0()), 2.0)(x_t, t)


def test_v_of_a_learned_variance_is_the_conditional_one():
    class TwoHeads(Label):
        def forward(self, x, time, y=None):
            return torch.cat([x, super().forward(x, time, y)], dim=1)

    x_t, t, y = example()
    found = ClassifierFree(Denoiser(TwoHeads(), SCHEDULE, X0()), 3.0)(x_t, t, y)
    assert torch.equal(found.v, ((y + 1) / 2).view(-1, 1, 1, 1).expand_as(x_t).double())


# --- Adaptive projected guidance --------------------------------------------------------------------------------------


class TwoAnswers(nn.Module):
    """A network of x_0 that answers c to a label and u to none."""

    c, u = torch.tensor([1, 2, -1, 0.5]), torch.tensor([0.5, 1, 1, -0.5])

    def forward(self, x, time, y=None):
        return torch.where((y < 0).view(-1, 1, 1, 1), self.u.view(1, 1, 2, 2), self.c.view(1, 1, 2, 2)).to(x)


def projected(calls=1, scale=3.0, **settings):
    """Return x_0 of the last of some evaluations of one batch, (4,)."""
    guide = of_a_batch(AdaptiveProjected(Denoiser(TwoAnswers(), SCHEDULE, X0()), scale, **settings))
    x_t, t, y = torch.ones(2, 1, 2, 2, dtype=torch.float64), torch.full((2,), 500.0), torch.tensor([0, 1])
    for _ in range(calls):
        estimate = guide(x_t, t, y)
    alpha, sigma = SCHEDULE(t)
    torch.testing.assert_close(alpha * estimate.x_0 + sigma * estimate.eps, x_t)
    return estimate.x_0[1].flatten().float()


@pytest.mark.parametrize(
    ("settings", "calls", "x_0"),
    [
        ({"eta": 1.0}, 1, [2, 4, -5, 2.5]),
        ({}, 1, [0.4, 0.8, -3.4, 1.7]),
        ({"norm": 1.5}, 1, [0.64, 1.28, -2.44, 1.22]),
        ({"norm": 1.5, "eta": 0.5}, 1, [1.12, 2.24, -2.92, 1.46]),
        ({"norm": 100.0}, 1, [0.4, 0.8, -3.4, 1.7]),
        ({}, 2, [0.7, 1.4, -2.2, 1.1]),
        ({"momentum": 0.0}, 2, [0.4, 0.8, -3.4, 1.7]),
        ({"scale": 1.0}, 2, [1, 2, -1, 0.5]),
    ],
)
def test_projected_guidance_is_the_papers(settings, calls, x_0):
    """c = (1, 2, -1, 1/2), u = (1/2, 1, 1, -1/2): D = (1/2, 1, -2, 1), of which 0.8 c lies along c."""
    torch.testing.assert_close(projected(calls, **settings), torch.tensor(x_0))


def test_momentum_is_that_of_one_batch():
    guide = AdaptiveProjected(Denoiser(Wave(), SCHEDULE, V()), 3.0)
    once = of_a_batch(guide)(*example())
    first, second = of_a_batch(guide), of_a_batch(guide)
    assert same(first(*example()), once)
    assert not same(first(*example()), once)
    assert same(second(*example()), once)
    assert same(guide(*example()), guide(*example()))  # by hand: nothing is remembered


def test_a_sampler_begins_each_batch_without_momentum():
    guide = AdaptiveProjected(Denoiser(Wave(), SCHEDULE, V()), 3.0, momentum=-0.75)
    sampler, y = DDIM(Trailing(5)), torch.arange(4)
    images = [sampler(guide, ImageNoise(0, range(4), (3, 4, 4)), y) for _ in range(2)]
    assert torch.equal(*images)
    without = AdaptiveProjected(Denoiser(Wave(), SCHEDULE, V()), 3.0, momentum=0.0)
    assert not torch.equal(images[0], sampler(without, ImageNoise(0, range(4), (3, 4, 4)), y))


def test_parts_of_a_batch_have_momentum_of_their_own():
    guide = AdaptiveProjected(Denoiser(Wave(), SCHEDULE, V()), 3.0)
    sampler, y = DDIM(Trailing(5)), torch.arange(4)
    whole, parts = (sampler(g, ImageNoise(0, range(4), (3, 4, 4)), y) for g in (guide, InParts(guide, 3)))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": -0.1}, "guide.eta=-0.1 must not be negative"),
        ({"norm": 0.0}, "guide.norm=0.0 must be above 0, or null"),
        ({"momentum": 1.0}, "guide.momentum=1.0 must lie between -1 and 1"),
    ],
)
def test_impossible_settings_of_projected_guidance_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AdaptiveProjected(Denoiser(Wave(), SCHEDULE, V()), 3.0, **settings)


# --- Interval ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "t", "calls"),
    [([1.0, 5.0], 2.0, 2), ([1.0, 5.0], 5.0, 2), ([1.0, 5.0], 1.0, 1), ([1.0, 5.0], 0.5, 1), ([1.0, 5.0], 6.0, 1)],
)
def test_outside_the_interval_only_the_conditional_network_runs(interval, t, calls):
    """The interval is (low, high] in sigma / alpha, which on EDM's path is t."""
    denoiser, (x_t, _, y) = Denoiser(Label(), EDMSchedule(), X0()), example()
    times = torch.full((4,), t, dtype=torch.float64)
    found = ClassifierFree(denoiser, 2.0, interval)(x_t, times, y)
    assert denoiser.net.seen == 4 * calls
    assert same(found, ClassifierFree(denoiser, 2.0 if calls == 2 else 1.0)(x_t, times, y))


def test_each_image_of_a_batch_is_guided_by_its_own_time():
    denoiser, (x_t, t, y) = Denoiser(Wave(), SCHEDULE, V()), example()
    inside, low, high = torch.tensor([False, True, True, False]).view(-1, 1, 1, 1), 0.5, 50.0
    level = SCHEDULE.sigma_over_alpha(t)
    assert (((low < level) & (level <= high)).view(-1, 1, 1, 1) == inside).all()
    found, all_of_them, none = (
        guide(x_t, t, y)
        for guide in (ClassifierFree(denoiser, 3.0, [low, high]), ClassifierFree(denoiser, 3.0), denoiser)
    )
    for name in ("x_0", "eps"):
        wanted = torch.where(inside, getattr(all_of_them, name), getattr(none, name))
        torch.testing.assert_close(getattr(found, name), wanted, rtol=0, atol=1e-12)


def test_a_path_that_begins_with_pure_noise_can_be_guided():
    """sigma / alpha is infinite at t = 1 of the straight path."""
    denoiser, (x_t, _, y) = Denoiser(Label(), FlowSchedule(), V()), example()
    ClassifierFree(denoiser, 2.0, [0.5, float("inf")])(x_t, torch.ones(4, dtype=torch.float64), y)
    assert denoiser.net.seen == 8


# --- Rescaling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", [Eps(), V()], ids=lambda p: p.name)
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_rescaling_equals_diffusers(phi, prediction):
    """On the network's own output, whatever it predicts."""
    x_t, t, y = example()
    net, denoiser = Wave(), Denoiser(Wave(), SCHEDULE, prediction)
    time = SCHEDULE.time_input(t)
    with_label, without = net(x_t, time, y), net(x_t, time)
    theirs = rescale_noise_cfg(without + 7.5 * (with_label - without), with_label, phi)
    x_0, eps = ClassifierFree(denoiser, 7.5, rescale=phi)(x_t, t, y)
    torch.testing.assert_close(prediction.target(x_0, eps, *SCHEDULE(t)), theirs, rtol=1e-9, atol=1e-9)
    alpha, sigma = SCHEDULE(t)
    torch.testing.assert_close(alpha * x_0 + sigma * eps, x_t, rtol=1e-9, atol=1e-9)


# --- Autoguidance -----------------------------------------------------------------------------------------------------


def test_autoguidance_is_the_papers_formula():
    """D_w = w D_1 + (1 - w) D_0, of networks that predict different things."""
    x_t, t, y = example()
    good, bad = Denoiser(Wave(), SCHEDULE, V()), Denoiser(Wave(0.5), SCHEDULE, Eps())
    found = AutoGuidance(good, 2.5, bad)(x_t, t, y)
    for name in ("x_0", "eps"):
        wanted = 2.5 * getattr(good(x_t, t, y), name) - 1.5 * getattr(bad(x_t, t, y), name)
        torch.testing.assert_close(getattr(found, name), wanted)


def test_autoguidance_by_itself_is_itself_and_needs_no_labels():
    x_t, t, _ = example()
    denoiser = Denoiser(Wave(), SCHEDULE, V())
    assert same(AutoGuidance(denoiser, 3.0, denoiser)(x_t, t), denoiser(x_t, t))


@pytest.mark.parametrize("other", [BetaSchedule(cosine(1000)), BetaSchedule(linear(100, beta_end=0.2)), FlowSchedule()])
def test_autoguidance_of_another_path_is_refused(other):
    with pytest.raises(UserError, match=r"guide=auto: .* another schedule, .* guide.bad.run"):
        AutoGuidance(Denoiser(Wave(), SCHEDULE, V()), 2.0, Denoiser(Wave(), other, V()))


# --- Mistakes ---------------------------------------------------------------------------------------------------------


def test_settings_that_mean_nothing_are_refused():
    denoiser = Denoiser(Wave(), SCHEDULE, V())
    for interval in ([3.0, 1.0], [1.0], [-1.0, 2.0], 3.0, [0.5, None]):
        with pytest.raises(UserError, match=r"guide.interval=.*must be \[low, high\]"):
            ClassifierFree(denoiser, 2.0, interval)
    for rescale in (-0.1, 1.1):
        with pytest.raises(UserError, match=f"guide.rescale={rescale} must lie"):
            ClassifierFree(denoiser, 2.0, rescale=rescale)
    with pytest.raises(UserError, match="guide=auto does nothing at guidance=1"):
        AutoGuidance(denoiser, 1.0, denoiser)


@pytest.mark.parametrize(
    ("asked", "classes", "dropout", "scale"),
    [(None, 10, 0.1, 1.5), (None, None, 0.1, 1.0), (None, 10, 0.0, 1.0), (3.0, 10, 0.1, 3.0), (1.0, None, 0.0, 1.0)],
)
def test_the_scale_is_what_was_asked_for_or_that_of_pictures(asked, classes, dropout, scale):
    assert scale_of(asked, classes, dropout) == scale


def test_a_guided_batch_is_half_as_large():
    """The network sees each image twice, and a batch has one image at least."""
    assert [at_a_time(n, scale) for n, scale in [(8, 1), (8, 1.5), (7, 3), (1, 1.5), (1, 1)]] == [8, 4, 3, 1, 1]


def test_guidance_that_the_network_never_learned_is_refused():
    """A network that always saw the label says anything without it."""
    with pytest.raises(UserError, match="guidance needs class labels"):
        scale_of(3.0, None, 0.1)
    with pytest.raises(UserError, match=r"guidance=3 .* .loss.label_dropout=0.: train with loss.label_dropout=0.1"):
        scale_of(3.0, 10, 0.0)

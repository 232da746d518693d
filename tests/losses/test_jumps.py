"""Mean velocities: closed forms of a Gaussian, the derivative, pairs of times, and what cannot be trained."""

import copy

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.distances import L2
from inkwash.losses.jumps import Velocity, tau_of
from inkwash.losses.mean_flow import MeanFlowLoss
from inkwash.losses.shortcut import ShortcutLoss
from inkwash.losses.simple import DiffusionLoss
from inkwash.nets.dit import DiT
from inkwash.nets.unet import UNet
from inkwash.process.betas import cosine
from inkwash.process.predictions import X0, Eps, Flow, V
from inkwash.process.schedules import BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Trailing
from inkwash.process.times import LogitNormal, Stratified, Uniform
from inkwash.process.weightings import MinSNR
from inkwash.process.weightings import Uniform as UniformWeighting
from inkwash.random import Draws, generator
from support.analytic import GaussianJump, f64
from support.networks import Zero
from support.samplers import sampler_of

MU, STD = 0.3, 0.5
FLOW, COSINE = FlowSchedule(), CosineSchedule(image_size=64, noise_size=64)
PATHS = {"flow": FLOW, "vp": VPSchedule(), "cosine": COSINE}


def mean_flow(**arguments):
    return MeanFlowLoss(**{"times": Uniform(), "until": Uniform(), **arguments})


def shortcut(**arguments):
    return ShortcutLoss(**{"times": Uniform(), **arguments})


def velocity(path):
    return Velocity(GaussianJump(path, MU, STD), None, None, torch.device("cpu"))


def test_closed_forms_on_the_straight_path():
    """m = 0.3, s = 0.5, x = 1.1, t = 0.8, r = 0.2."""
    u, x, t, r, zero = velocity(FLOW), f64(1.1).view(1, 1, 1, 1), f64(0.8), f64(0.2), f64(0.0)
    assert u(x, t, t).item() == pytest.approx(0.9, abs=1e-12)
    assert u(x, t, r).item() == pytest.approx(0.4718529932096028, abs=1e-12)
    assert u(x, t, zero).item() == pytest.approx(0.1937742251701452, abs=1e-12)
    pair = GaussianJump(FLOW, MU, STD)(x, t, s=r)
    assert [part.item() for part in pair] == pytest.approx([0.7225176054323177, 1.1943705986419206], abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_any_number_of_jumps_is_exact(path, steps):
    """DDIM tells the network where it goes: from noise to the data's own distribution, in one step."""
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    drawn = sampler_of("euler", Trailing(steps))(GaussianJump(path, MU, STD), lambda: x)
    alpha, sigma = path(f64(1.0))
    growth = STD / (alpha**2 * STD**2 + sigma**2).sqrt()
    torch.testing.assert_close(drawn, MU + growth * (path.prior_std(1.0) * x - alpha * MU), rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("make", [mean_flow, shortcut])
def test_the_exact_velocity_is_its_own_target(make, path):
    """With the marginal velocity as v the residual is 0; a wrong sign of t - s would leave a large one."""
    u, t, s = velocity(path), f64(0.8, 0.75, 0.5, 1.0), f64(0.2, 0.25, 0.5, 0.0)
    z = torch.tensor([[-1.0, 0.3, 1.1, 2.0]] * 4, dtype=torch.float64).view(4, 1, 2, 2)
    arguments = {"h": 1e-4} if make is mean_flow else {}
    target = make(**arguments).target(u, z, u(z, t, t), u(z, t, s), t, s)
    torch.testing.assert_close(target[:3], u(z, t, s)[:3], rtol=0, atol=1e-7)
    # At t = 1 the difference is one-sided, of first order in h.
    torch.testing.assert_close(target[3], u(z, t, s)[3], rtol=0, atol=1e-7 if make is shortcut else 2e-3)


def test_expected_loss_of_the_exact_velocity():
    """E |v - (eps - x_0)|^2 = s^2 / S_t^2, whatever s is: what flow matching leaves, too."""
    draw = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(16, 1, 128, 128, generator=draw, dtype=torch.float64) for _ in range(2))
    for s in (None, 0.2, 0.8):
        ends = {} if s is None else {"s": torch.full((16,), s, dtype=torch.float64)}
        t = torch.full((16,), 0.8, dtype=torch.float64)
        found = mean_flow().objective(GaussianJump(FLOW, MU, STD), MU + STD * x_0, eps, t, None, **ends)
        assert found.mean().item() == pytest.approx(0.3846153846153845, rel=0.01)


def test_halves_of_a_jump():
    """.8 -> .5 -> .2: the mean of the two velocities is that of the whole."""
    u, x, t, r = velocity(FLOW), f64(1.1).view(1, 1, 1, 1), f64(0.8), f64(0.2)
    first = u(x, t, f64(0.5))
    second = u(x - 0.3 * first, f64(0.5), r)
    assert [first.item(), second.item()] == pytest.approx([0.7629658163573404, 0.1807401700618653], abs=1e-12)
    assert shortcut().target(u, x, x, x, t, r).item() == pytest.approx(u(x, t, r).item(), abs=1e-12)


class Bent:
    """u(z, t, s) = z / 2 + t^2 - 3 s on the straight path: no mean velocity, so that every evaluation shows."""

    schedule = FLOW

    def __call__(self, z, t, s):
        return z / 2 + (t**2 - 3 * s).view(-1, 1, 1, 1)


def test_the_target_of_a_shortcut_is_the_mean_of_its_halves():
    """Those of the shortest jump are Euler's; the mean is bounded; s = t learns v."""
    u, z, v = Bent(), f64(0.5).view(1, 1, 1, 1), f64(7.0).view(1, 1, 1, 1)

    def target(t, s, z=z):
        return shortcut(steps=8).target(u, z, v, v, f64(t), f64(s)).item()

    first = 0.25 + 1 - 3 * 0.75  # from 1 to 0.75, and from there to 0.5
    second = (0.5 - 0.25 * first) / 2 + 0.75**2 - 3 * 0.5
    assert target(1.0, 0.5) == pytest.approx((first + second) / 2, abs=1e-12)
    first = 0.25 + 1 - 3 * 1  # told that it ends where it begins
    second = (0.5 - 0.125 * first) / 2 + 0.875**2 - 3 * 0.875
    assert target(1.0, 0.75) == pytest.approx((first + second) / 2, abs=1e-12)
    assert [target(1.0, 0.5, z + 100), target(1.0, 0.5, z - 100), target(0.5, 0.5)] == [4, -4, 7]


def small(**arguments):
    torch.manual_seed(0)
    net = DiT((1, 4, 4), 2, 16, 2, 2, two_times=True, time_scale=0.001, num_classes=3, **arguments)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.double()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_difference_is_the_derivative(path):
    """To 1e-5 of a Jacobian-vector product along the flow, in float64."""
    path = copy.deepcopy(path)
    path.time_input = lambda time: 1000 * time  # in float64: the difference shows the last digits of float32
    denoiser = Denoiser(small(), path, V()).requires_grad_(False)
    y, t, s = torch.arange(3), f64(0.9, 0.6, 0.4), f64(0.1, 0.0, 0.4)
    z = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u = Velocity(denoiser, y, None, torch.device("cpu"))
    loss, flow, tau = mean_flow(h=2e-4), u(z, t, t), tau_of(path, t)

    def along(shift):  # tau + shift, by Newton's method on t
        time = t.clone()
        for _ in range(4):
            slope = (tau_of(path, time + 1e-6) - tau_of(path, time - 1e-6)) / 2e-6
            time = time - ((tau_of(path, time) - tau - shift) / slope).flatten()
        return time

    def moved(k):
        return u(z + k * flow, t + k * dt_dtau, s)

    dt_dtau = (along(1e-6) - along(-1e-6)) / 2e-6
    with sdpa_kernel(SDPBackend.MATH):
        _, derivative = torch.func.jvp(moved, (f64(0.0)[0],), (f64(1.0)[0],))
    v = torch.zeros_like(z)
    expected = v - (tau - tau_of(path, s)) * derivative
    torch.testing.assert_close(loss.target(u, z, v, u(z, t, s), t, s), expected, rtol=0, atol=1e-5)


def test_guidance_changes_the_velocity():
    """omega (eps - x_0) + mix v(y) + (1 - omega - mix) v(no label), where there is a label."""
    denoiser = Denoiser(small(), FLOW, Flow()).requires_grad_(False)
    y, t = torch.tensor([0, -1, 2]), f64(0.9, 0.6, 0.4)
    z, v = (torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(k)).double() for k in (1, 2))
    u = Velocity(denoiser, y, None, torch.device("cpu"))
    with_label, without = u(z, t, t), u(z, t, t, torch.full((3,), -1))
    found = mean_flow(guidance=2.0, mix=0.25)._guided(u, z, v, t)
    expected = 1.5 * v + 0.25 * with_label - 0.75 * without
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])
    assert torch.equal(found[1], v[1])
    assert mean_flow()._guided(u, z, v, t) is v
    assert mean_flow().posterior_mean
    assert not mean_flow(guidance=2.0).posterior_mean


class Clock(torch.nn.Module):
    """A network that says s of an image with a label, and t of one without."""

    two_times, num_classes = True, 3

    def forward(self, x, time, y=None, until=None):
        told = until if y is None else torch.where(y < 0, time, until)
        return (told.to(x) / 1000).view(-1, 1, 1, 1).expand_as(x)


def test_the_network_is_told_the_ends_it_is_trained_for():
    """x_0 = eps = 0: the loss is (u - v)^2 with u = s, and v = 0, or -t if guided away from the network's t."""
    x, t, s, y = torch.zeros(2, 1, 2, 2, dtype=torch.float64), f64(0.9, 0.5), f64(0.3, 0.1), torch.tensor([0, 2])
    denoiser = Denoiser(Clock(), FLOW, Flow())
    found = [mean_flow(guidance=g).objective(denoiser, x, x, t, y, s=s) for g in (1.0, 2.0)]
    torch.testing.assert_close(found[0].double(), s**2, rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1].double(), (s + t) ** 2, rtol=1e-6, atol=0)
    assert mean_flow().objective(denoiser, x, x, t, y).tolist() == [0, 0]  # to the data


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_the_weight_is_of_the_gradient_alone(power):
    error = torch.tensor([0.5, 2.0], requires_grad=True)
    found = mean_flow(power=power, offset=0.01)._weighted(error, 4)
    torch.testing.assert_close(found, error)
    found.sum().backward()
    torch.testing.assert_close(error.grad, torch.tensor([4 / 2.01**power, 4 / 8.01**power]))


def test_all_evaluations_drop_the_same_features():
    net = UNet((1, 8, 8), 8, [1], 1, [], dropout=0.5, two_times=True, time_scale=0.001).train()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    denoiser = Denoiser(net, FLOW, Flow())
    z, t = torch.randn(4, 1, 8, 8), f64(0.9, 0.7, 0.5, 0.3)
    torch.manual_seed(0)
    u = Velocity(denoiser, None, None, z.device)
    first = u(z, t, t)
    after = torch.rand(1)
    assert torch.equal(u(z, t, t), first)
    assert torch.equal(torch.rand(1), after)
    assert (denoiser(z, t).eps - denoiser(z, t).x_0 - first).abs().max() > 0.1


def drawn(loss, n=4000):
    ends = loss.ends(FLOW, loss.times(FLOW, n, d := Draws([generator(0, "pairs")])), d)
    return ends[0], ends[1]["s"]


def test_pairs_of_mean_flow():
    t, s = drawn(mean_flow(times=LogitNormal(-0.4, 1.0), until=LogitNormal(-0.4, 1.0), same=0.25))
    assert bool((s <= t).all())
    assert (s == t).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert t.logit().mean().item() == pytest.approx(-0.4 + torch.pi**-0.5, abs=0.05)  # of the greater of two


def test_pairs_of_shortcuts():
    t, s = drawn(shortcut(steps=8, same=0.3))
    jumps = s < t
    assert jumps.double().mean().item() == pytest.approx(0.7, abs=0.02)
    lengths = (t - s)[jumps]
    assert sorted(lengths.unique().tolist()) == [0.25, 0.5, 1.0]
    assert torch.equal((t[jumps] / lengths).round() * lengths, t[jumps])
    assert [(lengths == length).double().mean().item() for length in (0.25, 0.5, 1)] == pytest.approx(
        [1 / 3] * 3, abs=0.04
    )
    quarters = t[jumps][lengths == 0.25]
    shares = [(quarters == t).double().mean().item() for t in (0.25, 0.5, 0.75, 1.0)]
    assert shares == pytest.approx([1 / 4] * 4, abs=0.06)
    assert bool((t[jumps][lengths == 1] == 1).all())


class Told(Zero):
    two_times, num_classes = True, None

    def forward(self, x, time, y=None, until=None):
        return super().forward(x, time, y)


def test_what_cannot_be_trained_is_refused():
    def unet(**more):
        return UNet((1, 8, 8), 8, [1], 1, [], **more)

    told = {"two_times": True, "time_scale": 0.001}
    chain = BetaSchedule(cosine(1000))
    for make in (mean_flow, shortcut):
        name = make().name
        for denoiser, learns, message in (
            (Denoiser(Told(), chain, V()), False, f"^loss={name} needs a path in continuous time from 0 to 1"),
            (Denoiser(Told(), EDMSchedule(), V()), False, f"^loss={name} needs a path in continuous time from 0 to 1"),
            (Denoiser(unet(), FLOW, Flow()), False, "^model: UNet cannot be told .* model.two_times=true"),
            (Denoiser(Zero(), FLOW, Flow()), False, "^model: Zero cannot be told"),
            (Denoiser(Told(), FLOW, X0()), False, "^prediction=x0: .* 1000 times .* pass prediction=flow or v"),
            (Denoiser(Told(), VPSchedule(), Eps()), False, "^prediction=eps: .* pass prediction=flow or v"),
            (Denoiser(Told(), FLOW, Flow()), True, "needs a loss that trains the variance"),
        ):
            with pytest.raises(UserError, match=message):
                make().check(denoiser, learns)
        make().check(Denoiser(unet(**told), FLOW, Flow()), False)
        make().check(Denoiser(Told(), COSINE, V()), False)
        with pytest.raises(UserError, match=r"loss.guidance=2 needs classes"):
            make(guidance=2).check(Denoiser(unet(**told), FLOW, Flow()), False)
    with pytest.raises(UserError, match=r"model.time_scale=1.0 .* turn by 5 radians .* model.time_scale=0.001"):
        mean_flow().check(Denoiser(unet(two_times=True), FLOW, Flow()), False)
    simple = DiffusionLoss(L2(), UniformWeighting(), Uniform())
    with pytest.raises(UserError, match=r"^model.two_times=true needs a loss that tells .* loss=meanflow"):
        simple.check(Denoiser(unet(**told), FLOW, Flow()), False)
    with pytest.raises(UserError, match=r"^model: UNet cannot be told"):
        Denoiser(unet(), FLOW, Flow())(torch.zeros(1, 1, 8, 8), f64(0.5), s=f64(0.1))
    half = Denoiser(unet(**told).bfloat16(), FLOW, Flow())
    with pytest.raises(
        UserError, match=r"weights in torch.bfloat16 have too few digits: pass trainer.precision=32-true"
    ):
        mean_flow().objective(half, *torch.zeros(2, 1, 1, 8, 8), f64(0.5), None)


def test_bad_arguments():
    for make, arguments, message in (
        (mean_flow, {"same": 0}, r"loss.same=0 must lie between 0 and 1"),
        (mean_flow, {"h": 0}, r"loss.h=0 must be above 0"),
        (mean_flow, {"until": Stratified()}, r"loss.until: stratified times"),
        (mean_flow, {"guidance": 0.5}, r"loss.guidance=0.5 must be at least 1"),
        (mean_flow, {"mix": 1}, r"loss.mix=1 in \[0, 1\)"),
        (mean_flow, {"power": -1}, r"loss.power=-1 must not be negative"),
        (mean_flow, {"guidance": 2, "label_dropout": 0}, r"loss.guidance=2 guides away from no label"),
        (mean_flow, {"weighting": MinSNR()}, r"loss=meanflow .* weighting=MinSNR beside it: pass weighting=uniform"),
        (shortcut, {"steps": 100}, r"loss.steps=100 must be a power of 2"),
        (shortcut, {"steps": 1}, r"loss.steps=1 must be a power of 2"),
        (shortcut, {"same": 1}, r"loss.same=1 must lie between 0 and 1"),
    ):
        with pytest.raises(UserError, match=message):
            make(**arguments)

"""Networks that are told where a step ends: the same until they learn it, and other networks stay as they are."""

import copy

import pytest
import torch

from inkwash.denoiser import Denoiser
from inkwash.editing.perform import InParts
from inkwash.errors import UserError
from inkwash.guidance import AdaptiveProjected, AutoGuidance, ClassifierFree
from inkwash.nets.dit import DiT
from inkwash.nets.song import SongUNet
from inkwash.nets.unet import UNet
from inkwash.process.predictions import Flow
from inkwash.process.schedules import FlowSchedule
from inkwash.process.spacing import Trailing
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM

PATH = FlowSchedule()
NETS = {
    "unet": lambda **more: UNet((1, 8, 8), 8, [1, 2], 1, [], num_classes=3, time_scale=0.001, **more),
    "dit": lambda **more: DiT((1, 8, 8), 2, 16, 2, 2, num_classes=3, time_scale=0.001, **more),
    "song": lambda **more: SongUNet((1, 8, 8), 8, [1, 2], 1, [], num_classes=3, **more),
    "fourier": lambda **more: SongUNet((1, 8, 8), 8, [1, 2], 1, [], num_classes=3, fourier=True, **more),
}
X, TIME, Y = torch.randn(2, 1, 8, 8), torch.tensor([900.0, 400.0]), torch.tensor([2, -1])


def made(make, **more):
    torch.manual_seed(0)
    return make(**more).eval()


def trained_like(net):
    gen = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=gen)
    return net


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_it_starts_as_the_network_that_is_not_told(make):
    """The same initial weights, the same output, one part more: a run without it can go on with it by init_from."""
    plain, told = made(make), made(make, two_times=True)
    more = told.state_dict().keys() - plain.state_dict().keys()
    assert {name.partition(".")[0] for name in more} == {"distance"}
    assert all(torch.equal(value, told.state_dict()[name]) for name, value in plain.state_dict().items())
    with torch.no_grad():
        for net in (plain, told):
            for layer in net.modules():  # what comes out of a network begins at 0
                if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and layer is not told.distance:
                    layer.weight.add_(0.01)
        (told.distance if isinstance(told.distance, torch.nn.Linear) else told.distance[-1]).weight.zero_()
        assert torch.equal(told(X, TIME, Y, until=0 * TIME), plain(X, TIME, Y))


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_then_the_end_of_the_step_matters(make):
    net = trained_like(made(make, two_times=True))
    here, there = net(X, TIME, Y, until=TIME), net(X, TIME, Y, until=TIME / 2)
    torch.testing.assert_close(net(X, TIME, Y), here)
    assert (here - there).abs().amax((1, 2, 3)).min() > 1e-4
    net(X, TIME, Y).square().sum().backward()  # nothing told: DDP still finds a gradient
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_what_is_said_of_the_distance_is_added(make):
    """By a copy of the layers that tell it the time, a step from t to 0 tells it t twice."""
    told, plain = trained_like(made(make, two_times=True)), made(make)
    plain.load_state_dict(told.state_dict(), strict=False)
    with torch.no_grad():
        if isinstance(told, SongUNet):
            told.distance.weight.copy_(torch.eye(len(told.distance.weight)))
            told.distance.bias.zero_()
            for net in (told, plain):
                net.label_bias.zero_()
            plain.embed[0].weight.mul_(2)
        else:
            told.distance.load_state_dict(told.time.state_dict())
            plain.time[2].weight.mul_(2)
            plain.time[2].bias.mul_(2)
        torch.testing.assert_close(told(X, TIME, until=0 * TIME), plain(X, TIME), rtol=1e-4, atol=1e-5)


def test_a_network_of_half_the_bits_is_told_too():
    net = trained_like(made(NETS["dit"], two_times=True))
    half = copy.deepcopy(net).bfloat16()(X, TIME, Y, until=TIME / 2)
    torch.testing.assert_close(half.float(), net(X, TIME, Y, until=TIME / 2), rtol=0.05, atol=0.05)


class Witness(torch.nn.Module):
    """A network that keeps what it is told."""

    two_times, num_classes = True, 3

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, time, y=None, until=None):
        self.seen.append((time.tolist(), None if until is None else until.tolist()))
        return 0.1 * x


def told(wrap=lambda denoiser: denoiser, **arguments):
    net = Witness()
    sampler = DDIM(Trailing(2), clip=None, **arguments)
    sampler(wrap(Denoiser(net, PATH, Flow())), ImageNoise(0, range(2), (1, 8, 8)), Y)
    return net.seen


def test_a_sampler_that_jumps_tells_where_it_goes():
    start = PATH.time_input(Trailing(2)(PATH)).tolist()
    jumps = [([start[0]] * 2, [start[1]] * 2), ([start[1]] * 2, [0.0] * 2)]
    assert told() == jumps
    assert [end for _, end in told(eta=0.5)] == [None, None]  # not a jump
    for wrap in (ClassifierFree, AdaptiveProjected):  # one call with twice the images
        assert told(lambda d, wrap=wrap: wrap(d, 2.0)) == [(2 * t, 2 * s) for t, s in jumps]
    assert told(lambda d: AutoGuidance(d, 2.0, d)) == [jump for jump in jumps for _ in range(2)]
    assert told(lambda d: InParts(d, 1)) == [(t[:1], s[:1]) for t, s in jumps for _ in range(2)]


def test_guidance_that_cannot_tell_is_refused():
    class Older(ClassifierFree):
        def pair(self, x_t, t, y): ...

    denoiser, plain = Denoiser(Witness(), PATH, Flow()), Denoiser(NETS["unet"](), PATH, Flow())
    with pytest.raises(UserError, match=r"guide: Older.pair has no argument `s`"):
        Older(denoiser, 2.0)
    with pytest.raises(UserError, match=r"guide=auto: one of the two networks is told where a step ends"):
        AutoGuidance(denoiser, 2.0, plain)
    Older(plain, 2.0)

"""A network that cannot be trained is refused before the first step, in one sentence."""

import copy
import functools

import pytest
import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.training import network_check
from inkwash.training.build import build_module
from support.runs import QUICK, composed


class Net(nn.Module):
    """A network whose forward tests replace."""

    num_classes = None

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, time, y=None):
        self.calls += 1
        return self.layer(x)


class TwoArguments(Net):
    def forward(self, x, time):
        return self.layer(x)


class FourArguments(Net):
    def forward(self, x, time, y, mask):
        return self.layer(x)


class Smaller(Net):
    def forward(self, x, time, y=None):
        return self.layer(x)[..., ::2, ::2]


class Twice(Net):
    def forward(self, x, time, y=None):
        return self.layer(x).repeat(1, 2, 1, 1)


class Pair(Net):
    def forward(self, x, time, y=None):
        return self.layer(x), y


class Whole(Net):
    def forward(self, x, time, y=None):
        return self.layer(x).long()


class Numbers(Net):
    """It reads numbers, so that it does not run without them."""

    def forward(self, x, time, y=None):
        return self.layer(x)[..., : 4 + int(x.sum())]


class Drawing(Net):
    def forward(self, x, time, y=None):
        self.calls += float(x.sum()) + 1  # runs with numbers only
        return self.layer(x) + torch.rand_like(x)


class Untold(Net):
    two_times = True

    def forward(self, x, time, y=None):
        return self.layer(x)


class Broken(Net):
    def forward(self, x, time, y=None):
        raise RuntimeError("of the network's own")


class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)


@functools.cache
def config_of(*overrides):
    return composed(*QUICK, *overrides)


def check_network(module):
    network_check.check_network(module, (1, 8, 8), 10, f"model._target_=studio.{type(module.denoiser.net).__name__}")


def module_with(net, *overrides):
    module = build_module(copy.deepcopy(config_of(*overrides)))
    module.denoiser.net = net
    return module


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (TwoArguments, r"forward\(x, time\) cannot be called as forward\(x, time, y\) \(too many positional arg"),
        (FourArguments, r"forward\(x, time, y, mask\) cannot be called .* \(missing a required argument: 'mask'\)"),
        (Smaller, r"returns shape \(2, 1, 4, 4\) for images of shape \(2, 1, 8, 8\): return the shape of the images"),
        (Numbers, r"returns shape \(2, 1, 8, 4\) for images of shape \(2, 1, 8, 8\)"),
        (Twice, r"returns shape \(2, 2, 8, 8\) for images .*: return half the channels, or .*loss=hybrid"),
        (Pair, r"returns tuple, not a tensor: return the tensor of shape \(2, 1, 8, 8\) alone"),
        (Whole, r"returns torch.int64, not floating point"),
        (Untold, r"has two_times=True, but forward\(x, time, y=None\) has no argument until: write"),
        (Nothing, r"has no forward: write forward\(self, x, time, y=None\)"),
    ],
)
def test_one_sentence_says_what_is_wrong(net, message):
    with pytest.raises(UserError, match=f"^model._target_=studio.{net.__name__}:? ?{message}") as error:
        check_network(module_with(net()))
    assert "\n" not in str(error.value)


def test_a_loss_that_learns_the_variance_wants_twice_the_channels():
    learned = ("loss=hybrid", "schedule=linear", "prediction=eps", "model.learn_variance=true")
    check_network(module_with(Twice(), *learned))
    with pytest.raises(UserError, match=r"\(2, 1, 8, 8\) for images .*: return twice the channels"):
        check_network(module_with(Net(), *learned))


@pytest.mark.parametrize("net", [Net, Drawing, Broken])
def test_the_run_stays_as_it_is(net):
    """Its random numbers, buffers, weights and mode; what the network itself raises comes up in the training."""
    module = module_with(net())
    before, weights = torch.get_rng_state(), {name: value.clone() for name, value in module.state_dict().items()}
    module.denoiser.net.train()
    check_network(module)
    assert torch.equal(torch.get_rng_state(), before)
    assert module.denoiser.net.training
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())


def test_our_own_networks_pass():
    check_network(build_module(composed(*QUICK)))
    check_network(build_module(composed(*QUICK, "data.num_classes=null")))


def test_a_training_ends_before_its_first_step(fit_run):
    with pytest.raises(UserError, match=r"support.networks.Halved returns shape \(2, 1, 4, 4\) for images of shape"):
        fit_run("run", "model._target_=support.networks.Halved")


class Unaware(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, x, time, y=None):
        return self.layer(x)


@pytest.mark.parametrize(("net", "warned"), [(Unaware, True), (Net, False)])
def test_a_network_that_leaves_the_classes_out_is_told(net, warned, caplog):
    """One that has num_classes=None has chosen so."""
    check_network(module_with(net()))
    assert ("trained without the 10 classes" in caplog.text) == warned

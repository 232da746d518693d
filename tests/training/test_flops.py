"""The operations of a pass, against counts by hand."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from inkwash.training import flops
from inkwash.training.build import build_module
from inkwash.training.flops import forward_flops, in_words, trial_device
from support.runs import composed


class Net(nn.Module):
    def __init__(self, num_classes=None, reads=False):
        super().__init__()
        self.num_classes, self.reads = num_classes, reads
        self.convolution, self.linear = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(7, 11)

    def forward(self, x, time, y=None):
        assert (y is None) == (self.num_classes is None)
        if self.reads and float(time[0]) > 1:
            return x
        return self.convolution(x).mean() + self.linear(x.new_zeros(1, 7)).mean()


@pytest.fixture(params=["cpu", "meta"])
def device(request, monkeypatch):
    """Where networks are tried: the small ones of this file are large if nothing is small."""
    if request.param == "meta":
        monkeypatch.setattr(flops, "MILLISECONDS", 0)
    return request.param


@pytest.mark.parametrize("num_classes", [None, 4])
def test_a_convolution_and_a_matrix(num_classes, device):
    net, state = Net(num_classes), torch.get_rng_state()
    assert trial_device(net, (3, 8, 6)) == device
    assert forward_flops(net, (3, 8, 6)) == 2 * (8 * 6 * 5 * 3 * 9 + 7 * 11)
    assert next(net.parameters()).device.type == "cpu"
    assert net.training
    assert torch.equal(state, torch.get_rng_state())


def test_a_large_network_that_reads_its_numbers_has_none(device):
    counted = forward_flops(Net(reads=True), (3, 8, 6))
    assert counted == (None if device == "meta" else forward_flops(Net(), (3, 8, 6)))


@pytest.mark.parametrize("choice", ["unet_small", "dit_digits", "ddpmpp_small", "edm2_small"])
def test_the_count_is_that_of_torchs_own_counter(choice, device):
    net = build_module(composed(f"model={choice}")).denoiser.net
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    assert forward_flops(net, (1, 8, 8)) == counter.get_total_flops() > 1e6


def test_a_network_on_the_meta_device_stays_there():
    assert trial_device(Net().to("meta"), (3, 8, 6)) == "meta"
    assert forward_flops(Net().to("meta"), (3, 8, 6)) == 2 * (8 * 6 * 5 * 3 * 9 + 7 * 11)


def test_random_numbers_of_a_network_are_its_own(device):
    class Noisy(Net):
        def forward(self, x, time, y=None):
            return super().forward(x, time, y) + torch.rand(())

    net, state = Noisy(), torch.get_rng_state()
    assert forward_flops(net, (3, 8, 6)) is not None
    assert torch.equal(state, torch.get_rng_state())


def test_a_digits_run_starts_without_torchs_compiler_and_torchvision(tmp_path):
    """Which import sympy, and take two seconds."""
    code = f"""
import sys
from inkwash.launch import quick_imports
quick_imports.defer()
from inkwash.training.build import build_module
from inkwash.training.flops import forward_flops
from inkwash.training.network_check import check_network
from inkwash import compose
from omegaconf import OmegaConf
module = build_module(OmegaConf.to_container(compose(), resolve=True))
check_network(module, (1, 8, 8), 10, "unet_tiny")
from inkwash.data.digits import Digits
from inkwash.metrics.extractors.auto import AutoFeatures
train, heldout = (Digits().load(split, (1, 8, 8)) for split in ("train", "heldout"))
print(forward_flops(module.denoiser.net, (1, 8, 8)), AutoFeatures({str(tmp_path)!r}).chosen(train, heldout, True).name)
print([name for name in ("sympy", "torchvision", "torch._dynamo.eval_frame") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["7684096 classifier", "[]"]


@pytest.mark.parametrize(
    ("flops", "text"), [(999, "999 FLOP"), (30_597_120, "30.6 MFLOP"), (12_443_713_536, "12.4 GFLOP")]
)
def test_in_words(flops, text):
    assert in_words(flops) == text

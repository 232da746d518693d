"""Layers, operations and memory of a network that was never run."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from inkwash.nets.unet import UNet
from inkwash.training.network_cost import layers, memory
from support.memory import PEAK
from support.runs import environment


class Net(nn.Module):
    """Two linear maps of 4 values with a square between them."""

    num_classes = None

    def __init__(self):
        super().__init__()
        self.first, self.blocks = nn.Linear(4, 6), nn.ModuleList([nn.Linear(6, 4)])

    def forward(self, x, time, y=None):
        return self.blocks[0](self.first(x) ** 2)


@pytest.fixture
def net():
    with torch.device("meta"):
        return Net()


def test_layers_by_hand(net):
    assert [(row.name, row.kind, row.shape, row.parameters) for row in layers(net, (1, 1, 4))] == [
        ("first", "Linear", (1, 1, 6), 30),
        ("blocks.0", "Linear", (1, 1, 4), 28),
    ]


def test_memory_by_hand(net):
    """Kept of an image: x (4), what is squared (6), its square (6), the output, which the loss squares (4)."""
    needed = memory(net, (1, 1, 4), state=2, averages=1)
    assert needed.weights == 4 * 58 * (2 + 2 + 1)
    assert needed.per_image == 4 * (4 + 6 + 6 + 4)
    assert needed.of(10) == needed.weights + 10 * needed.per_image


def test_every_parameter_of_a_unet_is_in_a_layer():
    with torch.device("meta"):
        net = UNet((3, 32, 32), 32, [1, 2], 1, [16], num_classes=10)
    rows = layers(net, (3, 32, 32))
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in net.parameters())
    assert {row.name: row.shape for row in rows}["input"] == (32, 32, 32)


MEASURE = f"""
import torch
from inkwash.nets.unet import UNet
torch.set_num_threads(1)
net = UNet((3, 64, 64), 64, [1, 2], 1, [])
def step(images):
    (net(torch.randn(images, 3, 64, 64), torch.zeros(images)).float() ** 2).mean().backward()
def peak():
    return 1024 * {PEAK}
step(4)
before = peak()
step(20)
print((peak() - before) // 16)
"""


@pytest.mark.slow
def test_memory_of_a_real_step():
    """The highest memory of a process grows with the images by a little more: what operations need meanwhile.

    Measured: 75.0 MB an image, of which the backward pass keeps 60.4 MB.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.device("meta"):
        told = memory(UNet((3, 64, 64), 64, [1, 2], 1, []), (3, 64, 64), 2, 1).per_image
    assert told < int(done.stdout) < 1.4 * told

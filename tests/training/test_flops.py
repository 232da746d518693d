"""The operations of a pass, against counts by hand."""

import pytest
import torch
from torch import nn

from inkwash.training.flops import forward_flops, in_words


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


@pytest.mark.parametrize("num_classes", [None, 4])
def test_a_convolution_and_a_matrix(num_classes):
    net, state = Net(num_classes), torch.get_rng_state()
    assert forward_flops(net, (3, 8, 6)) == 2 * (8 * 6 * 5 * 3 * 9 + 7 * 11)
    assert next(net.parameters()).device.type == "cpu"
    assert net.training
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_that_reads_its_numbers_has_none():
    assert forward_flops(Net(reads=True), (3, 8, 6)) is None


@pytest.mark.parametrize(
    ("flops", "text"), [(999, "999 FLOP"), (30_597_120, "30.6 MFLOP"), (12_443_713_536, "12.4 GFLOP")]
)
def test_in_words(flops, text):
    assert in_words(flops) == text

"""The U-Net's blocks: embedding, groups, padding."""

import pytest
import torch

from inkwash.nets.blocks import Downsample, ResBlock, norm_groups, sinusoidal_embedding


def test_sinusoidal_embedding_is_ho_et_als():
    embedding = sinusoidal_embedding(torch.tensor([0.0, 7.0]), 8)
    assert embedding[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    w = torch.tensor([1, 1e4 ** (-1 / 3), 1e4 ** (-2 / 3), 1e-4])
    torch.testing.assert_close(embedding[1], torch.cat([(7 * w).sin(), (7 * w).cos()]), rtol=1e-5, atol=1e-6)


def test_groups_divide_any_width_and_have_four_channels_or_more():
    assert [norm_groups(c) for c in (128, 256, 64, 48, 32, 24, 8, 7, 2)] == [32, 32, 16, 12, 8, 6, 2, 1, 1]


@pytest.mark.parametrize("channels", [8, 32, 128])
def test_every_block_hears_the_embedding(channels):
    """With one channel a group the norm after it would take it away again, to the last digit."""
    torch.manual_seed(0)
    block = ResBlock(channels, channels, 16, 0.0, norm_groups(channels))
    torch.nn.init.normal_(block.conv_2.weight, std=0.1)
    x = torch.randn(1, channels, 4, 4)
    quiet, loud = block(x, torch.zeros(1, 16)), block(x, torch.full((1, 16), 2.0))
    assert (loud - quiet).std() > 0.05 * (quiet - x).std()


@pytest.mark.parametrize(("pad_all_sides", "first"), [(True, 0), (False, 1)])
def test_where_the_windows_of_a_halved_map_lie(pad_all_sides, first):
    """A kernel that copies its centre shows it: Ho et al.'s code pads right and bottom only."""
    down = Downsample(1, pad_all_sides)
    down.conv.weight.data = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]).view(1, 1, 3, 3)
    x = torch.arange(24.0).view(1, 1, 4, 6)
    assert torch.equal(down(x, torch.zeros(1)), x[:, :, first::2, first::2])

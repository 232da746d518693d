"""Blocks of the U-Nets of Song et al. 2021 as Karras et al. 2022 train them. Images (n, C, H, W), embeddings (n, D)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.dtypes import KeepDtype
from inkwash.nets.blocks import conv, group_norm, linear, norm_groups
from inkwash.nets.layout import Place

BOX = [1, 1]
# Gain of the Glorot-uniform weights of the last convolution of a branch, and of queries, keys and values.
LAST, ATTENTION = 1e-5, math.sqrt(0.2)


class SongBlock(nn.Module):
    """Residual block: norm, SiLU, [resample,] conv, + embedding, norm, SiLU, dropout, conv; then attention.

    Each sum of two branches is divided by sqrt(2), which keeps its variance. The embedding is already activated.

    Args:
        place: channels, and whether the map is halved or doubled first.
        embedding_dim: of the embedding.
        heads: of the attention behind it; 0 for none.
        taps: of the filter that resamples.
    """

    def __init__(self, place: Place, embedding_dim: int, dropout: float, heads: int, taps: Sequence[int]):
        super().__init__()
        width_in, width = place.width_in, place.width
        self.resample = Resample(taps, place.resample == "up") if place.resample else nn.Identity()
        self.norm_1 = group_norm(width_in, norm_groups(width_in))
        self.conv_1 = conv(width_in, width)
        self.embedding = linear(embedding_dim, width)
        self.norm_2 = group_norm(width, norm_groups(width))
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = _scaled(conv(width, width), LAST)
        self.skip = conv(width_in, width, kernel=1) if place.resample or width_in != width else nn.Identity()
        self.attention = SongAttention(width, heads) if heads else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_1(self.resample(F.silu(self.norm_1(x)))) + self.embedding(embedding)[:, :, None, None]
        h = self.conv_2(self.dropout(F.silu(self.norm_2(h))))
        h = (self.skip(self.resample(x)) + h) * math.sqrt(0.5)
        return h if self.attention is None else (h + self.attention(h)) * math.sqrt(0.5)


class SongAttention(nn.Module):
    """Self-attention over the H * W positions of a feature map, without a residual connection."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, norm_groups(channels))
        # The channels that come out are (head, channel of the head, one of q, k and v).
        self.qkv = _scaled(conv(channels, 3 * channels, kernel=1), ATTENTION)
        self.out = _scaled(conv(channels, channels, kernel=1), LAST)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, self.heads, c // self.heads, 3, h * w)
        q, k, v = qkv.permute(3, 0, 1, 4, 2)  # each (n, heads, hw, c / heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
        return self.out(mixed)


class Resample(nn.Module):
    """Halve or double H and W with a separable low-pass filter.

    To halve, filter and keep every second pixel; to double, put zeros between the pixels and filter with four times the
    kernel. [1, 1] is the mean of 2 x 2 pixels, and repetition.

    Args:
        taps: of the filter in one direction, of an even number, scaled to sum 1.
        up: double.
    """

    kernel: Tensor

    def __init__(self, taps: Sequence[int], up: bool):
        super().__init__()
        self.box, self.up, self.padding = list(taps) == BOX, up, (len(taps) - 1) // 2
        self.register_buffer("kernel", filter_kernel(taps) * (4 if up else 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.box:  # the same, several times faster
            return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else F.avg_pool2d(x, 2)
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        resample = F.conv_transpose2d if self.up else F.conv2d
        return resample(x, kernel, stride=2, padding=self.padding, groups=x.shape[1])


class ImageHalved(nn.Module):
    """A convolution, then a filter at every second pixel: the input image for the next level, in its channels."""

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int, taps: Sequence[int]):
        super().__init__()
        # Padded for both, so that the filter averages what the convolution saw beyond the edge.
        self.conv = conv(in_channels, out_channels, padding=1 + (len(taps) - 1) // 2)
        self.register_buffer("kernel", filter_kernel(taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


class FourierFeatures(KeepDtype, nn.Module):
    """sin(2 pi f t) and then cos(2 pi f t), (n,) -> (n, dim), with frequencies f ~ N(0, std^2) that are never trained.

    Source: Tancik et al. 2020, as Song et al. 2021 use it for the noise level.
    """

    frequencies: Tensor

    def __init__(self, dim: int, std: float = 16.0):
        super().__init__()
        self.register_buffer("frequencies", std * torch.randn(dim // 2))

    def forward(self, time: Tensor) -> Tensor:
        angle = 2 * math.pi * time[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def filter_kernel(taps: Sequence[int]) -> Tensor:
    """Return the kernel of a separable filter, (1, 1, k, k), whose entries sum to 1."""
    one = torch.tensor(list(taps), dtype=torch.float32)
    one = one / one.sum()
    return torch.outer(one, one)[None, None]


def _scaled(layer: nn.Conv2d, gain: float) -> nn.Conv2d:
    with torch.no_grad():
        layer.weight *= gain
    return layer

"""Blocks of the U-Net of Ho et al. 2020, appendix B. Images are (n, C, H, W), embeddings (n, D)."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def sinusoidal_embedding(
    position: Tensor, dim: int, max_period: float = 10_000.0, freq_shift: int = 1, cos_first: bool = False
) -> Tensor:
    """Return sin(position * w_i) and then cos(position * w_i), w_i from 1 down to 1 / max_period: (n,) -> (n, dim).

    In float32, or in float64 for positions in float64.

    Args:
        freq_shift: the exponents of w_i are i / (dim / 2 - freq_shift): with 1 they reach -1, as in Ho et al.'s code.
        cos_first: begin with the cosines.
    """
    half = dim // 2
    dtype = torch.promote_types(position.dtype, torch.float32)
    exponent = -math.log(max_period) * torch.arange(half, dtype=dtype, device=position.device)
    # In this order because diffusers rounds in it: at position 999 another one is 6e-5 away.
    angle = position.to(dtype)[:, None] * torch.exp(exponent / max(half - freq_shift, 1))
    waves = [angle.cos(), angle.sin()] if cos_first else [angle.sin(), angle.cos()]
    return F.pad(torch.cat(waves, dim=1), (0, dim % 2))


def conv(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, padding: int | None = None
) -> nn.Conv2d:
    """Convolution with Glorot-uniform weights and zero bias; padding None preserves the size at stride 1."""
    return _init(nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2 if padding is None else padding))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with Glorot-uniform weights and zero bias."""
    return _init(nn.Linear(in_features, out_features))


def zeroed(layer: Layer) -> Layer:
    """Set a layer's weights to zero: residual branches and the network's output start at 0."""
    nn.init.zeros_(layer.weight)
    return layer


def until_zero(first: nn.Linear, last: nn.Linear) -> nn.Sequential:
    """Return first, SiLU, last with an output that starts at 0, for what a network is told beside its time."""
    return nn.Sequential(first, nn.SiLU(), zeroed(last))


def _init(layer: Layer) -> Layer:
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def norm_groups(channels: int) -> int:
    """Return the number of groups for a network of this base width, of 4 channels or more each if possible.

    It is at most 32, as in Ho et al.'s code.

    A group of one channel removes every constant that is added to the channel, and with it the embedding: a block's
    output would not depend on time or class.
    """
    return max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 4))


def group_norm(channels: int, groups: int, eps: float = 1e-6) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=eps)


class ResBlock(nn.Module):
    """norm, SiLU, conv, + embedding, norm, SiLU, dropout, conv, + input.

    Args:
        scale_shift: let the embedding scale and shift the output of the second norm instead, h (1 + scale) + shift
            (Nichol & Dhariwal 2021; "adaptive group normalisation" of Dhariwal & Nichol 2021).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_dim: int,
        dropout: float,
        groups: int,
        norm_eps: float = 1e-6,
        scale_shift: bool = False,
    ):
        super().__init__()
        self.scale_shift = scale_shift
        self.norm_1 = group_norm(in_channels, groups, norm_eps)
        self.conv_1 = conv(in_channels, out_channels)
        self.embedding = linear(embedding_dim, out_channels * (1 + scale_shift))
        self.norm_2 = group_norm(out_channels, groups, norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = zeroed(conv(out_channels, out_channels))
        self.skip = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        added = self.embedding(F.silu(embedding))[:, :, None, None]
        if self.scale_shift:
            scale, shift = added.chunk(2, dim=1)
            h = self.norm_2(h) * (1 + scale) + shift
        else:
            h = self.norm_2(h + added)
        h = self.conv_2(self.dropout(F.silu(h)))
        return self.skip(x) + h


class Attention(nn.Module):
    """Self-attention over the H * W positions of a feature map, with a residual connection.

    Args:
        groups: of the group norm before it; 0 for none.
    """

    def __init__(self, channels: int, heads: int, groups: int, norm_eps: float = 1e-6):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, groups, norm_eps) if groups else nn.Identity()
        self.qkv = linear(channels, 3 * channels)
        self.out = zeroed(linear(channels, channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (n, hw, c)
        qkv = self.qkv(tokens).view(n, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, hw, c / heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        return x + self.out(mixed).transpose(1, 2).view(n, c, h, w)


class Downsample(nn.Module):
    """Halve H and W with a strided convolution.

    Args:
        pad_all_sides: surround the map with zeros; False adds them at the right and bottom only, as Ho et al.'s code
            does (TensorFlow's `SAME` padding of an even side), so that the windows lie one pixel further on.
    """

    def __init__(self, channels: int, pad_all_sides: bool = True):
        super().__init__()
        self.conv = conv(channels, channels, stride=2, padding=int(pad_all_sides))
        self.pad = nn.Identity() if pad_all_sides else nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(self.pad(x))


class Upsample(nn.Module):
    """Double H and W by repetition, then convolve."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.ModuleList):
    """Blocks applied in turn, each given the embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x

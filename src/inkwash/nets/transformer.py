"""Blocks of the diffusion transformer. Tokens are (n, T, D), the conditioning vector c is (n, D).

Adaptive normalisation (Peebles & Xie 2023, "adaLN-Zero"): c shifts and scales what goes into attention and MLP, and its
gate scales what comes out. Gates start at 0, so every block starts as the identity.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.nets.blocks import linear, zeroed
from inkwash.nets.positions import Rotation, rotate

EPS = 1e-6


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * gain over the last dimension (Zhang & Sennrich 2019), in the precision of the gain.

    Under autocast to bfloat16 x comes in 7 bits and the gain has 23: the mean is taken in the latter.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


def norm(width: int, rms: bool) -> nn.Module:
    """Layer norm without gain and bias, which the conditioning brings; or RMS norm with a gain."""
    return RMSNorm(width, eps=EPS) if rms else nn.LayerNorm(width, eps=EPS, elementwise_affine=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift; x is (n, T, D), the others (n, 1, D)."""
    return x * (1 + scale) + shift


class Stacked(nn.Linear):
    """Linear layer that stands for several: its rows are those of `parts` equal matrices, one below the other.

    An optimizer that takes a matrix as a whole finds them by `parts` (muon.py). Initialised as one matrix.
    """

    def __init__(self, in_features: int, out_features: int, parts: int):
        super().__init__(in_features, parts * out_features)
        self.parts = parts
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class SelfAttention(nn.Module):
    """Self-attention of all tokens.

    Args:
        qk_norm: RMS norm of each head's queries and keys, before they are rotated (Henry et al. 2020).
        dropout: of the output.
    """

    def __init__(self, width: int, num_heads: int, qk_norm: bool, dropout: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Stacked(width, width, 3)
        self.norm_q = RMSNorm(width // num_heads, eps=EPS) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width // num_heads, eps=EPS) if qk_norm else nn.Identity()
        self.out, self.dropout = linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, T, D / heads)
        q, k = self.norm_q(q), self.norm_k(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """linear, GELU, dropout, linear; the hyperbolic tangent's form of GELU, which is 1e-3 away from the exact one."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.linear_1, self.linear_2 = linear(width, hidden), linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.dropout(F.gelu(self.linear_1(x), approximate="tanh")))


class SwiGLU(nn.Module):
    """linear(dropout(SiLU(gate) * value)), gate and value linear in x (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.linear_1, self.linear_2 = linear(width, 2 * hidden), linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.linear_1(x).chunk(2, dim=-1)
        return self.linear_2(self.dropout(F.silu(gate) * value))


class Block(nn.Module):
    """x + gate_1 attention(norm(x)), then x + gate_2 mlp(norm(x)), the norms shifted and scaled by c.

    Args:
        hidden: features inside the MLP.
        rms_norm, swiglu, qk_norm: see dit.DiT.
        dropout: of what attention gives, and inside the MLP.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        rms_norm: bool,
        swiglu: bool,
        qk_norm: bool,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.norm_1 = norm(width, rms_norm)
        self.attention = SelfAttention(width, num_heads, qk_norm, dropout)
        self.norm_2 = norm(width, rms_norm)
        self.mlp = (SwiGLU if swiglu else MLP)(width, hidden, dropout)
        self.modulation = zeroed(linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor, rotation: Rotation | None = None) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(F.silu(c))[:, None].chunk(6, dim=-1)
        x = x + gate_1 * self.attention(modulate(self.norm_1(x), shift_1, scale_1), rotation)
        return x + gate_2 * self.mlp(modulate(self.norm_2(x), shift_2, scale_2))


def prepend(tokens: Tensor, context: Tensor, rotation: Rotation | None) -> tuple[Tensor, Rotation | None]:
    """Put context tokens (n, K, D) before the others; they are at no place of the grid, and not rotated."""
    if rotation is not None:
        cos, sin = rotation
        pad = (0, 0, context.shape[1], 0)
        rotation = F.pad(cos, pad, value=1.0), F.pad(sin, pad)
    return torch.cat([context, tokens], dim=1), rotation

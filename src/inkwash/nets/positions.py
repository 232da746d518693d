"""Positions of tokens on a grid of h rows and w columns: added to the tokens, or as rotations of queries and keys.

Both use the frequencies w_k = 10000^(-k / K), k = 0 .. K - 1, of a row or a column number 0, 1, 2, ... Tokens are in
the order of reading, row by row. Nothing is stored: the tables come from h + w sinusoids, in the precision that is
asked for, so that no cast of a network makes them coarse.
"""

import torch
from torch import Tensor

from inkwash.nets.blocks import sinusoidal_embedding

Rotation = tuple[Tensor, Tensor]


def grid_embedding(height: int, width: int, dim: int, like: Tensor) -> Tensor:
    """Return the sin-cos table of a grid, (h w, dim): half of the dimensions for the column, then half for the row.

    Each half is sin and then cos of the number times w_k, K = dim / 4 (Dosovitskiy et al. 2021 in two dimensions, as in
    Peebles & Xie 2023, whose code begins with the column).

    Args:
        dim: a multiple of 4.
        like: a tensor of the device and dtype that the table shall have, float32 or float64.
    """
    rows, columns = (_waves(count, dim // 2, like) for count in (height, width))
    grid = [columns[None].expand(height, -1, -1), rows[:, None].expand(-1, width, -1)]
    return torch.cat(grid, dim=-1).flatten(0, 1)


def grid_rotation(height: int, width: int, dim: int, like: Tensor) -> Rotation:
    """Return cos and sin of the angles by which `rotate` turns each token's pairs, each (h w, dim / 2).

    The first half of the pairs turns with the row, the second with the column, by the number times w_k, K = dim / 4
    (Su et al. 2021, RoPE, in two dimensions).

    Args:
        dim: of an attention head, a multiple of 4.
        like: as in `grid_embedding`.
    """
    parts = []
    for rows, columns in zip(*(_waves(n, dim // 2, like).chunk(2, -1) for n in (height, width)), strict=True):
        grid = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
        parts.append(torch.cat(grid, dim=-1).flatten(0, 1))
    sin, cos = parts
    return cos, sin


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair (x_2k, x_2k+1) by its angle: (u, w) -> (u cos - w sin, w cos + u sin); x is (..., T, dim)."""
    cos, sin = rotation
    u, w = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([u * cos - w * sin, w * cos + u * sin], dim=-1).flatten(-2)


def _waves(count: int, dim: int, like: Tensor) -> Tensor:
    """Return the sinusoids of 0 .. count - 1, (count, dim)."""
    return sinusoidal_embedding(torch.arange(count, dtype=like.dtype, device=like.device), dim, freq_shift=0)

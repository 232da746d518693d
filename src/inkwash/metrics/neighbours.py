"""Euclidean distances between many points, a block at a time, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

from inkwash.metrics.moments import as_float64

BLOCK = 2**25  # distances held at once: 256 MiB


def blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """||x_i - y_j||, (b, m), for b rows of x (n, d) after the other and all of y (m, d)."""
    x, y = as_float64(x), as_float64(y)
    for part in x.split(max(1, BLOCK // len(y))):
        yield torch.cdist(part, y)


def neighbour_radii(x: Tensor, k: int) -> Tensor:
    """Distance of each x_i to its k-th nearest other point of x (n, d), (n,); n > k."""
    return torch.cat([distances.kthvalue(k + 1, dim=1).values for distances in blocks(x, x)])  # it is its own nearest


def two_nearest(x: Tensor, y: Tensor) -> Tensor:
    """Distances of each x_i to its nearest and second nearest y_j, (n, 2): exactly 0 for equal points.

    Matrix products that make distances quick lose the small ones, so the two that they find are measured again.
    """
    y = as_float64(y)
    nearest = torch.cat([distances.topk(2, largest=False).indices for distances in blocks(x, y)])  # (n, 2)
    return (as_float64(x)[:, None] - y[nearest]).norm(dim=2).sort(dim=1).values

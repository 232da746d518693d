"""Euclidean distances between many points, a block at a time, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

from inkwash.images import ImageSplit
from inkwash.metrics.moments import as_float64

BLOCK = 2**25  # distances held at once: 256 MiB


def blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield ||x_i - y_j||, (b, m), for b rows of x (n, d) at a time and all of y (m, d)."""
    x, y = as_float64(x), as_float64(y)
    for part in x.split(max(1, BLOCK // len(y))):
        yield torch.cdist(part, y)


def neighbour_radii(x: Tensor, k: int) -> Tensor:
    """Return the distance of each x_i to its k-th nearest other point of x (n, d), (n,); n > k."""
    return torch.cat([distances.kthvalue(k + 1, dim=1).values for distances in blocks(x, x)])  # it is its own nearest


def two_nearest(x: Tensor, y: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """Return the distances of each x_i to its nearest and second nearest y_j, (n, 2): exactly 0 for equal points.

    Distances by matrix products are fast but lose digits of small ones, so those of the two nearest are computed again.

    Args:
        mirrored: another view of each x_i, (n, d): the distance to y_j is then that of the nearer view.
    """
    y, views = as_float64(y), [as_float64(view) for view in (x, mirrored) if view is not None]
    nearest = torch.cat(
        [
            torch.stack(distances).amin(dim=0).topk(2, largest=False).indices
            for distances in zip(*(blocks(view, y) for view in views), strict=True)
        ]
    )  # (n, 2)
    return torch.stack([(view[:, None] - y[nearest]).norm(dim=2) for view in views]).amin(dim=0).sort(dim=1).values


def nearest_images(images: Tensor, split: ImageSplit, flip: bool = False, batch_size: int | None = None) -> Tensor:
    """Find the image of a split that is nearest in pixels to each of images (n, C, H, W): uint8, of the same shape.

    Args:
        flip: search the split's mirror images, too.
        batch_size: images of the split read at a time; None for about 64 MiB of pixels in float64.
    """
    batch_size = batch_size or max(1, 2**23 // images[0].numel())
    result, distance = torch.zeros_like(images), torch.full((len(images),), torch.inf, dtype=torch.float64)
    for start in range(0, len(split), batch_size):
        real = split.__getitems__(list(range(start, min(start + batch_size, len(split)))))[0]
        for view in (real, real.flip(-1))[: 1 + flip]:
            nearest = torch.cdist(as_float64(images.flatten(1)), as_float64(view.flatten(1))).min(dim=1)
            nearer = nearest.values < distance
            result[nearer], distance = view[nearest.indices[nearer]], torch.minimum(nearest.values, distance)
    return result

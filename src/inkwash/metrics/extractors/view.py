"""Images as a small network sees them: whatever their size, at the cost of images of 8 x 8."""

import math
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from inkwash.images import ImageSplit, InBlocks
from inkwash.random import generator

LARGEST = 144  # pixels of an image that is seen as it is
CELLS = 8  # of a folded image, along each axis
MOST = 4  # pixels of a cell, along each axis
COPIES = 16_384  # images of a scaled copy, at most
COPIED_LEVELS = 2**31  # read for a scaled copy, at most
AT_ONCE = 2**24  # levels scaled at a time: 64 MiB in float32


class View:
    """Scaling of images to at most 32 x 32, and folding of blocks of f x f pixels into f^2 channels.

    Folding (PixelUnshuffle) loses nothing: a grid of 8 x 8 cells takes the place of the pixels. Images with a side of
    less than 8 f pixels are padded by their border; those with more than 32 are averaged over areas. Images of at most
    LARGEST pixels stay as they are.

    Args:
        shape: (C, H, W).

    Attributes:
        folded: (channels, height, width) after folding.
    """

    def __init__(self, shape: tuple[int, ...]):
        C, H, W = shape
        self.as_it_is = H * W <= LARGEST
        self.block = (1, 1) if self.as_it_is else tuple(min(MOST, math.ceil(side / CELLS)) for side in (H, W))
        self.sides = (H, W) if self.as_it_is else tuple(CELLS * pixels for pixels in self.block)
        self.folded = (C * math.prod(self.block), H, W) if self.as_it_is else (C * math.prod(self.block), CELLS, CELLS)

    @property
    def preprocessing(self) -> str:
        """What the records say of it."""
        return "none" if self.as_it_is else f"padded or averaged to {self.sides[0]} x {self.sides[1]}"

    def scale(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) padded or averaged to `sides`, uint8."""
        if tuple(images.shape[2:]) == self.sides:
            return images
        parts = images.split(max(1, AT_ONCE // images[0].numel())) if len(images) else [images]
        return torch.cat([self._scaled(part) for part in parts])

    def _scaled(self, images: Tensor) -> Tensor:
        H, W = images.shape[2:]
        height, width = self.sides
        pixels = F.adaptive_avg_pool2d(images.float(), (min(H, height), min(W, width)))
        padded = F.pad(pixels, (0, max(width - W, 0), 0, max(height - H, 0)), mode="replicate")
        return padded.round().to(torch.uint8)

    def fold(self, images: Tensor) -> Tensor:
        """Return images (B, C, 8 f, 8 g) as (B, C f g, 8, 8)."""
        if self.as_it_is:
            return images
        f, g = self.block
        B, C, H, W = images.shape
        return images.view(B, C, H // f, f, W // g, g).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def some_of(images: ImageSplit, most: int, purpose: str) -> list[int]:
    """Return the indices of all images, or of `most` of them, chosen at random and the same every time."""
    if len(images) <= most:
        return list(range(len(images)))
    if isinstance(images, InBlocks):  # of few blocks, so that not all are read
        return sorted(islice(images.order(purpose, 0), most))
    return torch.randperm(len(images), generator=generator(purpose, "some"))[:most].sort().values.tolist()


class Copy:
    """Scaled images in memory.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]


def scaled_copy(images: ImageSplit, view: View, purpose: str, batch_size: int = 64) -> Copy:
    """Return a bounded number of the images, scaled, in memory: each is read and scaled once."""
    most = min(COPIES, max(1024, COPIED_LEVELS // math.prod(images.shape)))
    chosen = some_of(images, most, purpose)
    batches = (images.__getitems__(chosen[i : i + batch_size]) for i in range(0, len(chosen), batch_size))
    parts = [(view.scale(pixels), labels) for pixels, labels in batches]
    return Copy(*(torch.cat(part) for part in zip(*parts, strict=True)))

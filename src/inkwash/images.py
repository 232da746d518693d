"""Images outside the network: uint8 levels, their scaling to [-1, 1], and the protocol of a data split."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 levels of any shape to float32 in [-1, 1]: x / 127.5 - 1."""
    # In one new tensor, not three: of more than 128 KiB, each would be fresh pages from the kernel, zeroed one by one.
    return images.to(torch.float32, copy=True).div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Quantise floats of any shape to uint8: round(127.5 * x + 127.5), clipped to 0..255, each level equally wide."""
    return (127.5 * images.float() + 127.5).round().clamp(0, 255).to(torch.uint8)


class ImageSplit(Protocol):
    """Images of one split of a data set and their labels: what sources load, training shuffles and metrics compare."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # (C, H, W)

    @property
    def labels(self) -> Tensor: ...  # int64 (N,), -1 where an image has none

    @property
    def fingerprint(self) -> str: ...  # a hash of images and labels, their order included: it names caches

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]: ...  # uint8 (n, C, H, W), int64 (n,)

    def order(self, seed: int | str, epoch: int, first: int = 0, copies: int = 1) -> Iterator[int]:
        """Yield the indices 0 .. copies * N - 1, shuffled by (seed, epoch), from position `first` on."""
        ...


@runtime_checkable
class InBlocks(Protocol):
    """An ImageSplit that is read in blocks of many images: quick in its own `order`, slow for images here and there."""

    @property
    def capacity(self) -> int: ...  # blocks in memory at a time

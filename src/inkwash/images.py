"""Images outside the network: uint8 levels, their scaling to [-1, 1], and the protocol of a data split."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """x / 127.5 - 1: uint8 of any shape -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """round(127.5 * x + 127.5), clipped to 0..255: floats of any shape -> uint8, each level equally wide."""
    return (127.5 * images.float() + 127.5).round().clamp(0, 255).to(torch.uint8)


class ImageSplit(Protocol):
    """A split of a data set: uint8 images (C, H, W) with integer labels, -1 where there is none."""

    @property
    def fingerprint(self) -> str:
        """Names the split's content: equal fingerprints, equal images in equal order."""
        ...

    @property
    def labels(self) -> Tensor: ...  # (n,) int64

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]: ...  # uint8 (B, C, H, W), int64 (B,)


@runtime_checkable
class InBlocks(Protocol):
    """An ImageSplit that is read in blocks of many images: single ones here and there take long."""

    @property
    def capacity(self) -> int: ...  # blocks at hand at a time

    def order(self, seed: str, epoch: int) -> Iterator[int]: ...  # every index once, mixed as well as is quick

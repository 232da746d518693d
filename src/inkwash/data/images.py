"""Images as training sees them, and the usual form of that: one uint8 tensor for each split."""

import hashlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.images import ImageSplit
from inkwash.random import generator


class Images(Dataset):
    """One split of a set of images.

    Attributes:
        images: uint8 (N, C, H, W). It may be a memory map, so that a set need not fit in memory and the ranks of a
            machine share one copy.
        labels: int64 (N,), -1 where an image has none.
        fingerprint: a hash of images and labels.
    """

    def __init__(self, images: Tensor, labels: Tensor, fingerprint: str | None = None):
        self.images = images
        self.labels = labels
        self.fingerprint = fingerprint or fingerprint_of(images, labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """uint8 (n, C, H, W) and int64 (n,): a whole batch in one gather."""
        index = torch.as_tensor(indices)
        return self.images[index], self.labels[index]

    def order(self, seed: int | str, epoch: int, first: int = 0, copies: int = 1) -> Iterator[int]:
        """See ImageSplit."""
        return iter(torch.randperm(copies * len(self), generator=generator(seed, "order", epoch))[first:].tolist())


class Flipped(Dataset):
    """A set and its mirror image: index i >= N is the left-right mirror of i - N.

    An epoch sees every image both ways, with no coin to toss and so no random state to restore.
    """

    def __init__(self, images: ImageSplit):
        self.images = images

    def __len__(self) -> int:
        return 2 * len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """uint8 (n, C, H, W) and int64 (n,)."""
        images, labels = self.images.__getitems__([i % len(self.images) for i in indices])
        mirrored = torch.as_tensor(indices) >= len(self.images)
        images[mirrored] = images[mirrored].flip(-1)
        return images, labels

    def order(self, seed: int | str, epoch: int, first: int = 0) -> Iterator[int]:
        """All of them, shuffled by (seed, epoch), from position `first` on."""
        return self.images.order(seed, epoch, first, copies=2)


class Source(Protocol):
    """Where images come from: what each `data.source` offers to the data module."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> ImageSplit:
        """The images of a split ("train" or "heldout").

        Args:
            shape: (C, H, W) that image files are decoded to; a source of ready arrays has only its own shape.
            path: `data.path`, where the images are; a source that brings its own needs none.

        Raises:
            UserError: the images cannot be had; the sentence names the file or key.
        """
        ...


def fingerprint_of(images: Tensor, labels: Tensor) -> str:
    """32 hex digits of SHA-256 over shape, images and labels."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for chunk in (*images.split(4096), labels):  # a memory map may be larger than memory
        digest.update(chunk.numpy().tobytes())
    return digest.hexdigest()[:32]

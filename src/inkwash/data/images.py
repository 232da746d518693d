"""A split as one uint8 tensor, its mirror images, and the interface of a source of images."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.data.facts import Facts
from inkwash.images import ImageSplit
from inkwash.random import generator


class Images(Dataset):
    """An ImageSplit held as one tensor.

    Attributes:
        images: uint8 (N, C, H, W). It may be a memory map: then a set need not fit in memory, and the ranks of a
            machine share one copy.
        labels: int64 (N,), -1 if an image has none.
        fingerprint: a hash of images and labels.
        facts: what the source found, for the report of the data set.
        file: the file that the images are mapped from; None if they are in memory.
        digests: hashes of the images' pixels, int64 (N,); None if they were not computed.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        fingerprint: str | None = None,
        facts: Facts | None = None,
        file: Path | None = None,
        digests: np.ndarray | None = None,
    ):
        self.images, self.file, self.digests = images, file, digests
        self.labels = labels
        self.fingerprint = fingerprint or fingerprint_of(images, labels)
        self.facts = facts or Facts()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (n, C, H, W), and labels, int64 (n,), of a batch."""
        index = index_of(indices)
        return _rows(self.images, index), self.labels.index_select(0, index)

    def order(self, seed: int | str, epoch: int, first: int = 0, copies: int = 1) -> Iterator[int]:
        """Yield shuffled indices: see ImageSplit."""
        return iter(torch.randperm(copies * len(self), generator=generator(seed, "order", epoch))[first:].tolist())


class Flipped(Dataset):
    """A split of N images and their mirror images: index i >= N is the left-right mirror of i - N.

    An epoch has every image both ways: no coin is tossed, so there is no random state to restore.
    """

    def __init__(self, images: ImageSplit):
        self.images = images

    def __len__(self) -> int:
        return 2 * len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (n, C, H, W), and labels, int64 (n,), of a batch."""
        N = len(self.images)
        images, labels = self.images.__getitems__([i % N for i in indices])
        mirrored = torch.nonzero(index_of(indices) >= N)[:, 0]
        # By NumPy, which writes whole rows: torch would write pixel by pixel.
        images.numpy()[mirrored.numpy()] = _rows(images, mirrored).flip(-1).numpy()
        return images, labels

    def order(self, seed: int | str, epoch: int, first: int = 0) -> Iterator[int]:
        """Yield all 2 N indices, shuffled by (seed, epoch), from position `first` on."""
        return self.images.order(seed, epoch, first, copies=2)


class Source(Protocol):
    """The interface of a `data.source`."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> ImageSplit:
        """Load the images of a split ("train" or "heldout").

        Args:
            shape: (C, H, W) that image files are decoded to; a source of arrays returns them in their own shape.
            path: `data.path`, the place of the images; None for a source that brings its own.

        Raises:
            UserError: the images cannot be loaded; the sentence names the file or key.
        """
        ...


def index_of(indices: Sequence[int]) -> Tensor:
    """Return the indices of a batch as int64 (n,); torch.as_tensor takes five times as long."""
    return torch.from_numpy(np.array(indices, np.int64))


def _rows(images: Tensor, index: Tensor) -> Tensor:
    """Return images[index], in the memory format of the images: networks take theirs from it.

    Where an image lies in one piece, its bytes are copied at once. images[index] copies pixel by pixel.
    """
    if not (images.is_contiguous() or images.is_contiguous(memory_format=torch.channels_last)):
        return images[index]
    shape, strides = images.shape[1:], images.stride()[1:]
    size = math.prod(shape)
    pieces = images.as_strided((len(images), size), (size, 1)).index_select(0, index)
    return pieces.as_strided((len(index), *shape), (size, *strides))


def map_file(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Map a file of images, uint8 (N, C, H, W), which are read from disk page by page as they are used."""
    if shape[0] == 0:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=torch.uint8).view(shape)


def fingerprint_of(images: Tensor, labels: Tensor) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of shape, images and labels."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for chunk in (*images.split(4096), labels):  # a memory map may be larger than memory
        digest.update(chunk.numpy().tobytes())
    return digest.hexdigest()[:32]

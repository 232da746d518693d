"""Images with the noise of their latents, for autoencoders that draw (inkwash.autoencoders)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.autoencoders.base import latent_noise

if TYPE_CHECKING:
    from inkwash.data.images import Flipped
    from inkwash.data.on_gpu import OnGPU
    from inkwash.images import ImageSplit


class CachedMoments(Dataset):
    """Moments of a split from the disk (autoencoders/cache.py) in place of its images, in the same order.

    Args:
        split: N images, or 2 N with mirror images.
        labels: int64 (N,).
        moments: float16, as many as the split has.
    """

    def __init__(self, split: "ImageSplit | Flipped", labels: Tensor, moments: np.memmap):
        self.split, self.labels, self.moments = split, labels, moments

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return moments, float16 (n, channels, h, w), and labels, int64 (n,), of a batch."""
        index = torch.as_tensor(indices)
        return torch.from_numpy(self.moments[indices]), self.labels[index % len(self.labels)]

    def order(self, seed: int | str, epoch: int, first: int = 0) -> Iterator[int]:
        """Yield the indices of an epoch as the split does."""
        return self.split.order(seed, epoch, first)


class WithNoise(Dataset):
    """A split of N images (with mirror images, 2 N): index epoch * N + i is image i as that epoch draws its latents.

    Args:
        images: gives the batches.
        split: gives their number and order.
        shape: (c, h, w) of the latents.
        seed: of the noise.
    """

    def __init__(
        self,
        images: "ImageSplit | Flipped | OnGPU | CachedMoments",
        split: "ImageSplit | Flipped | CachedMoments",
        shape: tuple[int, ...],
        seed: int,
    ):
        self.images, self.split, self.shape, self.seed = images, split, shape, seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (n, C, H, W), labels (n,) and noise (n, c, h, w) of a batch."""
        N = len(self)
        images, labels = self.images.__getitems__([i % N for i in indices])
        noise = torch.cat([latent_noise(self.shape, self.seed, "train", i // N, [i % N]) for i in indices])
        # Beside images that live on a GPU no loader pins it, and its copy would wait for the GPU.
        return images, labels, noise.pin_memory() if images.is_cuda else noise

    def order(self, seed: int | str, epoch: int, first: int = 0) -> Iterator[int]:
        """Yield the indices of an epoch, shuffled by (seed, epoch), from position `first` on."""
        return (epoch * len(self) + i for i in self.split.order(seed, epoch, first))

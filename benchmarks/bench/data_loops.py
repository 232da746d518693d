"""Batches of training images, as many as a training can use, by Inkwash and by torchvision with a DataLoader."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

Gate = Callable[[], None]
BATCHES = 10  # of a step: a loader with processes of its own has some ready when its turn begins


def ours(options: dict[str, Any], gate: Gate) -> None:
    """Read batches as a training does: ImageDataModule, with mirror images, scaled to [-1, 1]."""
    from inkwash.data.images import Images
    from inkwash.data.module import ImageDataModule

    pixels = torch.from_numpy(noise(options["images"]).transpose(0, 3, 1, 2).copy())
    split = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64), fingerprint="noise")
    source: Any = SimpleNamespace(load=lambda *_: split)
    data: Any = ImageDataModule(source, [3, 32, 32], None, options["batch"], flip=True)
    data.trainer = SimpleNamespace(
        world_size=1, global_rank=0, global_step=0, accumulate_grad_batches=1, overfit_batches=0, num_nodes=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    batches = iter(data.train_dataloader())
    while True:
        gate()
        for _ in range(BATCHES):
            data.on_after_batch_transfer(next(batches), 0)


def torchvision_loader(options: dict[str, Any], gate: Gate) -> None:
    """Read the same images as torchvision's CIFAR10, with its usual transforms."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    data = CIFAR10.__new__(CIFAR10)  # without its files
    data.data, data.targets, data.target_transform = noise(options["images"]), [0] * options["images"], None
    data.transform = transforms.Compose([
        transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3),
    ])  # fmt: skip
    batches = _endless(DataLoader(data, options["batch"], shuffle=True, num_workers=options["workers"], drop_last=True))
    while True:
        gate()
        for _ in range(BATCHES):
            next(batches)


def noise(images: int) -> np.ndarray:
    """Return images of noise, uint8 (N, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader

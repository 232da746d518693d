"""Source of data sets that torchvision downloads: CIFAR10, MNIST, FashionMNIST and others."""

import inspect
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torchvision

from inkwash.data.caches import locked
from inkwash.data.facts import Facts
from inkwash.data.images import Images
from inkwash.data.labels import Classes
from inkwash.errors import UserError


class TorchvisionSet:
    """A data set of torchvision with its images in one array; its test split is the held-out one.

    Args:
        name: class in `torchvision.datasets`: CIFAR10, CIFAR100, MNIST, FashionMNIST, KMNIST.

    Raises:
        UserError: torchvision has no such data set, or its class has no training split to download.
    """

    def __init__(self, name: str):
        dataset = getattr(torchvision.datasets, name, None)
        arguments = inspect.signature(dataset).parameters if inspect.isclass(dataset) else {}
        if not {"train", "download"} <= arguments.keys():
            raise UserError(
                f"data.source.name={name} is not a set of torchvision.datasets with a training split: use CIFAR10, ..."
            )
        self.name = name
        self.dataset: Any = dataset

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Images:
        """Load a split (see `Source.load`), after downloading the data set to `path` if it is missing."""
        root = Path(path or ".").expanduser().absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
            writable = os.access(root, os.W_OK)  # a shared folder may be read-only, and have the files
            # One rank downloads, the others wait and find the files.
            with locked(root / self.name) if writable else nullcontext():
                data = self.dataset(root, train=split == "train", download=writable)
        except (OSError, RuntimeError) as error:  # no network, no space, no right to write, or a damaged file
            raise UserError(
                f"{self.name} could neither be found nor downloaded ({_first_line(error)}): put {self._files()} "
                f"into data.path={root}, or use a local copy with data=parquet data.path=..."
            ) from error
        images = torch.as_tensor(data.data)  # grey sets are (N, H, W), colour ones (N, H, W, C)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        classes = Classes(tuple(map(str, getattr(data, "classes", ()))), fixed=True)
        origin = f"torchvision.datasets.{self.name}, {'training' if split == 'train' else 'test'} split"
        return Images(images, torch.as_tensor(data.targets).long(), facts=Facts(origin, classes))

    def _files(self) -> str:
        if hasattr(self.dataset, "filename"):
            return self.dataset.filename
        return f"{', '.join(file for file, _ in self.dataset.resources)} under {self.name}/raw"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")

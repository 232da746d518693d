"""Images that live on the GPU: then only the indices of a batch are copied to it, and no core gathers images."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.data.images import Images, index_of
from inkwash.errors import UserError

SHARE = 0.1  # of the free memory, at most: the network needs the rest


class OnGPU(Dataset):
    """A split of N images on a device; batches as those of Images and Flipped, made there.

    Args:
        images: the split, in memory.
        device: where its copy lives.
        flip: if true, index i >= N is the left-right mirror of i - N.
    """

    def __init__(self, images: Images, device: torch.device, flip: bool = False):
        self.images, self.labels = images.images.to(device), images.labels.to(device)
        self.flip, self.pin = flip, device.type == "cuda"

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (n, C, H, W), and labels, int64 (n,), of a batch, without waiting for the device."""
        given = index_of(indices)
        index = (given.pin_memory() if self.pin else given).to(self.images.device, non_blocking=True)
        N = len(self.images)
        images, labels = self.images[index % N], self.labels[index % N]
        if self.flip:
            images = torch.where((index >= N)[:, None, None, None], images.flip(-1), images)
        return images, labels


def on_gpu(images: Any, device: torch.device, wanted: bool | str, flip: bool = False) -> OnGPU | None:
    """Return the training's images on the device, or None if they stay where they are.

    Args:
        wanted: data.on_gpu; "auto" means images in memory that take at most a tenth of what is free on the GPU.
        flip: whether the mirror images belong to the set.

    Raises:
        UserError: it is true, and cannot be.
    """
    if wanted not in (True, False, "auto"):
        raise UserError(f"data.on_gpu={wanted} must be auto, true or false")
    if wanted is False:
        return None
    if device.type == "cuda" and isinstance(images, Images):
        fits = images.images.numel() <= SHARE * torch.cuda.mem_get_info(device)[0]
        return OnGPU(images, device, flip) if wanted is True or fits else None
    if wanted is True:
        why = "the training is not on one" if device.type != "cuda" else "these images are read piece by piece"
        raise UserError(f"data.on_gpu=true, but {why}: leave data.on_gpu=auto")
    return None

"""Check the first batch of images before hours of training on them."""

from typing import Any

import lightning as L
from torch import Tensor

from inkwash.autoencoders.refusals import sees_pixels
from inkwash.errors import UserError
from inkwash.training.callbacks.generation import network_shape

# In [-1, 1]: less than three of the 256 levels of grey.
LEAST_SPREAD = 0.02


class FirstBatch(L.Callback):
    """Raises UserError unless the first batch is images in [-1, 1] of the network's shape."""

    def __init__(self):
        self._checked = False

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._checked:
            return
        self._checked = True
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        parts = trainer.world_size * trainer.accumulate_grad_batches
        shape = (data.batch_size // parts, *network_shape(trainer))
        if sees_pixels(pl_module.config):
            check(batch[0], shape)
        else:
            check_latents(batch[0], shape)


def check_latents(latents: Tensor, shape: tuple[int, ...]) -> None:
    """Raise UserError unless these are finite latents of a shape (B, c, h, w)."""
    if latents.shape != shape:
        raise UserError(
            f"autoencoder.latent_shape={list(shape[1:])} and {shape[0]} images here, but the latents of the first "
            f"batch are {list(latents.shape)}"
        )
    if not bool(latents.isfinite().all()):
        raise UserError("autoencoder: the latents of the first batch are not finite: is it trained?")


def check(images: Tensor, shape: tuple[int, ...]) -> None:
    """Raise UserError unless these are floating-point images (B, C, H, W) in [-1, 1], not all of one colour."""
    if not images.is_floating_point():
        raise UserError(f"data.source: the first batch is {images.dtype}, not floating point in [-1, 1]")
    if images.shape[1:] != shape[1:]:
        raise UserError(f"data.shape={list(shape[1:])}, but the images of the first batch are {list(images.shape[1:])}")
    if len(images) != shape[0]:
        raise UserError(f"data.batch_size asks for {shape[0]} images here, but the first batch has {len(images)}")
    low, high = images.aminmax()
    if not (low >= -1 and high <= 1):  # nor with NaN
        raise UserError(f"data.source: the first batch spans [{low:g}, {high:g}], but images must lie in [-1, 1]")
    if (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3))).max() < LEAST_SPREAD:
        raise UserError(
            "data.path: every image of the first batch is of one colour, with nothing to learn: are these the right "
            "files, in 0 to 255?"
        )

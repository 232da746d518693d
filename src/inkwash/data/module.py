"""LightningDataModule of any source: uint8 images inside, float32 in [-1, 1] for the network."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from inkwash.autoencoders import cache
from inkwash.autoencoders.base import Autoencoder
from inkwash.data.batches import StepBatches
from inkwash.data.images import Flipped, Source
from inkwash.data.latents import CachedMoments, WithNoise
from inkwash.data.on_gpu import on_gpu
from inkwash.data.reader_count import TIMED, Pace, readers_for
from inkwash.data.readers import Read, plan
from inkwash.data.stream import Stream
from inkwash.errors import UserError
from inkwash.images import ImageSplit, to_float
from inkwash.launch.signals import serve

MANY = 100_000  # classes; up to here their numbers may have gaps of any size
SPARSE = 100  # times as many numbers as classes that have images: these are no numbers of classes


class ImageDataModule(LightningDataModule):
    """Training batches of any source: images, float32 (B, C, H, W) in [-1, 1], and labels, int64 (B,).

    Args:
        source: loads the splits.
        shape: (C, H, W) of every image.
        num_classes: labels lie in 0 .. num_classes - 1; null for training without classes.
        batch_size: images per optimizer step, over all ranks and accumulated micro-batches.
        path: the place of the images, for sources that do not bring their own.
        flip: if true, an epoch has every image and its mirror image.
        num_workers: processes that read batches ahead; 0 is fastest for images in memory; "auto" for as many as keep up
            with the training (reader_count.py).
        on_gpu: whether the images live on the GPU: true, false, or "auto" (on_gpu.py).
        seed: of the order of the images.

    Attributes:
        autoencoder: makes latents of the images for the network; None for a network that sees pixels.
        pace: of the training, which num_workers=auto keeps up with.
    """

    autoencoder: Autoencoder | None = None
    pace = Pace()

    def __init__(
        self,
        source: Source,
        shape: Sequence[int],
        num_classes: int | None,
        batch_size: int,
        path: str | None = None,
        flip: bool = False,
        num_workers: int | str = 0,
        on_gpu: bool | str = "auto",
        seed: int = 0,
    ):
        super().__init__()
        for key, value in (("shape", shape), ("num_classes", num_classes)):
            if value == "auto":
                raise UserError(f"data.{key}=auto is found by `inkwash train` and `inkwash data`: give a value here")
        if len(shape) != 3 or min(shape) < 1:
            raise UserError(f"data.shape={list(shape)} must be [channels, height, width]")
        if not 1 <= batch_size < 2**31:
            raise UserError(f"data.batch_size={batch_size} must be a number of images, at least 1")
        if num_workers != "auto" and (isinstance(num_workers, str) or num_workers < 0):
            raise UserError(f"data.num_workers={num_workers} must be auto, or a number of processes, 0 or more")
        self.source = source
        self.shape = (shape[0], shape[1], shape[2])
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.path = path
        self.flip = flip
        self.num_workers: Any = num_workers
        self.on_gpu = on_gpu
        self.seed = seed

    @cached_property
    def train(self) -> ImageSplit:
        """Training images, without their mirror images."""
        return self._load("train")

    @cached_property
    def heldout(self) -> ImageSplit:
        """Held-out images, which are never trained on."""
        return self._load("heldout")

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Shape of what the network sees: of the images, or of their latents."""
        return self.shape if self.autoencoder is None else self.autoencoder.latent_shape

    def setup(self, stage: str | None = None) -> None:
        """Load both splits, so that unusable images are reported before any training.

        Raises:
            UserError: images or labels do not fit `data.shape` or `data.num_classes`.
        """
        _ = self.train, self.heldout

    def train_dataloader(self) -> DataLoader:
        """Return an endless loader of this rank's part of each global batch, from the current step on."""
        trainer: Any = self.trainer  # Lightning sets overfit_batches where no type checker sees it
        images: Any = self._cached(Flipped(self.train) if self.flip else self.train)
        batches = StepBatches(
            images=self._with_noise(images, images),
            batch_size=self.batch_size,
            seed=self.seed,
            world_size=trainer.world_size,
            rank=trainer.global_rank,
            accumulate=trainer.accumulate_grad_batches,
            # Lightning's overfit_batches means the same batches in each of its epochs
            start_step=lambda: 0 if trainer.overfit_batches else trainer.global_step,
        )
        device = trainer.strategy.root_device
        in_files = isinstance(images, CachedMoments)
        if resident := on_gpu(images if in_files else self.train, device, self.on_gpu, self.flip):
            return DataLoader(self._with_noise(resident, images), batch_sampler=batches, collate_fn=_as_it_is)
        of_a_rank = self.batch_size // trainer.world_size
        batch_bytes = of_a_rank // trainer.accumulate_grad_batches * (math.prod(self.shape) + 8)
        readers, by_pipe = plan(
            self._readers(in_files, of_a_rank), batch_bytes, trainer.world_size // trainer.num_nodes
        )
        return DataLoader(
            Read(self._with_noise(images, images), by_pipe),
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=readers,
            persistent_workers=readers > 0,
            worker_init_fn=serve,
            pin_memory=device.type == "cuda",
        )

    def _readers(self, in_files: bool, images: int) -> int:
        """Return how many processes read ahead, of so many images in a step on this rank."""
        if self.num_workers != "auto":
            return self.num_workers
        if in_files or not isinstance(self.train, Stream):
            return 0
        return readers_for(self.pace, self.train.seconds_per_image(TIMED), images)

    def _cached(self, images: Any) -> Any:
        """Return the moments of training images if they are in a cache, else the images."""
        ae = self.autoencoder
        if ae is None or ae.cache is None:
            return images
        meta = cache.identity(self.train.fingerprint, len(images), self.flip, ae)
        return CachedMoments(images, self.train.labels, cache.opened(Path(ae.cache).expanduser(), meta))

    def _with_noise(self, images: Any, split: Any) -> Any:
        """Return images of a split with the noise of their latents, if these are drawn."""
        if self.autoencoder is None or not self.autoencoder.draws:
            return images
        return WithNoise(images, split, self.autoencoder.latent_shape, self.seed)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Raise a reader's UserError in the process of the training."""
        if isinstance(batch, UserError):
            raise batch
        return batch

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Scale uint8 to [-1, 1] on the device, so that a quarter of the bytes cross the bus; then encode."""
        images, labels, *noise = batch
        return self.x_0(images, *noise), labels

    def x_0(self, images: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return x_0 of the network, float32, of images uint8 (n, C, H, W), or moments, and noise of their latents."""
        if self.autoencoder is None:
            return to_float(images)
        if images.is_floating_point():
            return self.autoencoder.draw(images, eps)
        return self.autoencoder.encode(to_float(images), eps)

    def _load(self, split: str) -> ImageSplit:
        loaded = self.source.load(split, self.shape, self.path)
        shape = list(loaded.shape)
        if shape != list(self.shape):
            raise UserError(
                f"data.shape={list(self.shape)}, but the images of {type(self.source).__name__} are {shape}: "
                f"set data.shape={shape}"
            )
        labels = loaded.labels
        _check_range(labels, split, self.source)
        if self.num_classes is not None:
            _check_labels(labels, self.num_classes, split)
        return loaded


def _check_range(labels: Tensor, split: str, source: Source) -> None:
    """Refuse labels that are no numbers of classes, but keys of a database for example.

    Reports, metrics and networks have a place for each number up to the largest one, which may fill the memory.
    """
    largest = int(labels.max()) if len(labels) else -1
    if largest <= MANY:
        return
    different = len(labels[labels >= 0].unique())
    if largest <= SPARSE * different:
        return
    key = next((key for key in ("label_column", "label") if hasattr(source, key)), None)
    advice = f", or add data.source.{key}=null to use no labels" if key else ""
    raise UserError(
        f"the {split} labels go up to {largest:,}, of {different:,} different ones: number the classes 0, 1, ... "
        f"without gaps, or store their names, as each number up to the largest one counts as a class{advice}"
    )


def _check_labels(labels: Tensor, num_classes: int, split: str) -> None:
    unlabelled, largest = int((labels < 0).sum()), int(labels.max()) if len(labels) else -1
    if unlabelled:
        alone = " or give the training images alone as data.path, to hold out some of them" * (split == "heldout")
        raise UserError(
            f"{unlabelled} of {len(labels)} {split} images have no label: "
            f"set data.num_classes=null to train without classes,{alone or ' or label them'}"
        )
    if largest >= num_classes:
        raise UserError(
            f"data.num_classes={num_classes}, but the {split} labels go up to {largest}: "
            f"set data.num_classes={largest + 1}, or null to train without classes"
        )


def _as_it_is(batch: Any) -> Any:
    """Return the batch that `__getitems__` has made."""
    return batch

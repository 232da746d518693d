"""Callbacks of the training of an autoencoder: its reconstructions as grid and metrics, and its files for others."""

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.files import filling
from inkwash.samplers.base import Watch
from inkwash.training.callbacks.checkpoints import sound
from inkwash.training.callbacks.evaluation import Evaluation
from inkwash.training.callbacks.generation import evaluating, images_at_a_time, reconstructed
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.callbacks.sample_grid import SampleGrid
from inkwash.training.module import DiffusionModule
from inkwash.training.precision import autocast


def _reconstructed(
    trainer: L.Trainer, module: DiffusionModule, split: Any, indices: Sequence[int], weights: str, size: int | None
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, uint8 reconstructions (n, C, H, W)) of images i mod N of a split."""
    denoiser: Any = module.weights_of(weights)
    with autocast(str(trainer.precision), module.device), evaluating(denoiser), torch.no_grad():
        size = images_at_a_time(trainer, size)
        for batch, images, _ in reconstructed(denoiser.net.reconstruct, split, indices, size, module.device):
            yield batch, images


class ReconstructionGrid(SampleGrid):
    """Writes samples/step-<step>.png: rows of held-out images, each above the row of their reconstructions.

    Args: those of SampleGrid; sampler, guidance and seed have no effect.
    """

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        super().run(trainer, module)
        self.way = None  # nothing comes out of noise

    def _generate(self, trainer: L.Trainer, module: DiffusionModule, n: int, watch: Watch | None) -> Tensor:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        split = data.heldout if len(data.heldout) else data.train
        rows, columns = torch.arange(n) // self.columns, torch.arange(n) % self.columns
        index = ((rows // 2 * self.columns + columns) % len(split)).tolist()
        images, _ = split.__getitems__(index)
        images, mirrored = images.clone(), (rows % 2 == 1).nonzero().flatten().tolist()
        found = _reconstructed(trainer, module, split, [index[i] for i in mirrored], "ema", self.batch_size)
        for i, image in zip(mirrored, (image for _, batch in found for image in batch.cpu()), strict=True):
            images[i] = image
        return images


class ReconstructionQuality(Evaluation):
    """Compares reconstructions of the reference's images i mod N with it: the best that a diffusion can reach.

    Args: those of Evaluation; sampler, guidance, seed and labels have no effect.
    """

    def images(
        self, trainer: L.Trainer, module: DiffusionModule, weights: str
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        indices = range(trainer.global_rank, self.num_images, trainer.world_size)
        return _reconstructed(trainer, module, self.real(trainer), indices, weights, self.batch_size)

    def how(self, module: DiffusionModule) -> dict[str, Any]:
        return {"sampler": "reconstruction", "steps": 0, "guidance": 1.0}


class AutoencoderFiles(Periodic):
    """Writes autoencoder/ in the run directory, which autoencoder.path=RUN reads: the averaged weights, for diffusers.

    Args:
        every_n_steps: the cadence.
    """

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if not trainer.is_global_zero or not sound(module):
            return
        net: Any = module.ema_denoiser.net
        folder = run_directory(trainer).autoencoder
        shutil.rmtree(new := folder.with_name("autoencoder.new"), ignore_errors=True)
        with filling(new) as partial:
            net.save(partial)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)

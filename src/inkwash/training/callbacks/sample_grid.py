"""Save a grid of samples, from the same noise every time."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.neighbours import nearest_images
from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, save_png
from inkwash.samplers.base import Sampler
from inkwash.samplers.generate import labels_for
from inkwash.tracking.wandb_logger import Tracker
from inkwash.training.callbacks.generation import generate_local, image_shape, scale_for
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


class SampleGrid(Periodic):
    """Writes samples/step-<step>.png in the run directory and sends it to W&B, if that is used.

    The averaged weights generate it, on all ranks. Image i starts from the same noise in every grid, and is of class
    i mod num_classes, so that a grid num_classes wide has one column for each class.

    Args:
        every_n_steps: the cadence.
        num_images, columns: size and shape of the grid.
        sampler: generates the images.
        guidance: classifier-free guidance scale, 1 for none; None for 1.5 if the network can be guided, else 1.
        seed: determines the noise.
        neighbours: write samples/neighbours-step-<step>.png too: each image beside the training image nearest to it in
            pixels, mirrored if training mirrors. This reads every training image.
    """

    def __init__(
        self,
        every_n_steps: int | None,
        num_images: int,
        columns: int,
        sampler: Sampler,
        guidance: float | None = None,
        seed: int = 0,
        neighbours: bool = False,
    ):
        super().__init__(every_n_steps)
        if min(num_images, columns) < 1:
            raise UserError(f"callbacks.samples: num_images={num_images} and columns={columns} must be at least 1")
        self.num_images, self.columns, self.sampler = num_images, columns, sampler
        self.guidance, self.seed, self.neighbours = guidance, seed, neighbours

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Check the sampler and the guidance, before a failure costs anything."""
        self.sampler.check(pl_module.denoiser.schedule)
        scale_for(pl_module, self.guidance)
        variance = getattr(self.sampler, "variance", None)
        if pl_module.loss.learns_variance and variance is not None and not variance.learned:
            log.info(
                "samples      are drawn without the variance that is learned: sampler=ancestral "
                "sampler.variance._target_=inkwash.process.variances.LearnedRange uses it"
            )

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        images = self._generate(trainer, module)
        if not trainer.is_global_zero:
            return
        step, folder = trainer.global_step, run_directory(trainer).samples
        trackers = [logger for logger in trainer.loggers if isinstance(logger, Tracker)]
        classes = run_directory(trainer).classes if module.num_classes is not None else []
        sheet = headed(grid(images, self.columns), self.columns, classes)
        save_png(sheet, folder / f"step-{step:08d}.png")
        for tracker in trackers:
            tracker.log_samples(sheet, images, labels_for(range(self.num_images), module.num_classes), step)
        if self.neighbours:
            data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            pairs = torch.stack([images, nearest_images(images, data.train, data.flip)], dim=1).flatten(0, 1)
            sheet = grid(pairs, 2 * self.columns)
            save_png(sheet, folder / f"neighbours-step-{step:08d}.png")
            for tracker in trackers:
                tracker.log_neighbours(sheet, step)

    def _generate(self, trainer: L.Trainer, module: DiffusionModule) -> Tensor:
        """Return all images on every rank, uint8 (n, C, H, W)."""
        images = torch.zeros(self.num_images, *image_shape(trainer), dtype=torch.int32, device=module.device)
        for indices, batch in generate_local(trainer, module, self.num_images, self.sampler, self.guidance, self.seed):
            images[list(indices)] = batch.int()
        # Each rank fills its own images and leaves zeros elsewhere, so the sum gathers them in order.
        return trainer.strategy.reduce(images, reduce_op="sum").to("cpu", torch.uint8)

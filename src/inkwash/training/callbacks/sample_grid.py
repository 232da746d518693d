"""Save a grid of samples, from the same noise every time."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.neighbours import nearest_images
from inkwash.reports.drawings import fitting
from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, save_png
from inkwash.samplers.base import Sampler, Watch
from inkwash.samplers.generate import labels_for
from inkwash.samplers.trajectory import Trajectory
from inkwash.tracking.pictures import send_picture, send_samples
from inkwash.training.callbacks.generation import check_sampler, decoder, generate_local, image_shape, scale_for
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)

SOON = 10  # steps within which a grid of the cadence makes an early one needless


class SampleGrid(Periodic):
    """Writes samples/step-<step>.png in the run directory and sends it to the loggers that show pictures.

    The averaged weights generate it, on all ranks. Image i starts from the same noise in every grid, and is of class
    i mod num_classes, so that a grid num_classes wide has one column for each class.

    One row is drawn early, after step `first_step`: it shows noise, and that sampling, files and W&B work.

    Args:
        every_n_steps: the cadence.
        num_images, columns: size and shape of the grid.
        sampler: generates the images.
        guidance: classifier-free guidance scale, 1 for none; None for 1.5 if the network can be guided, else 1.
        seed: determines the noise.
        neighbours: write samples/neighbours-step-<step>.png too: each image beside the training image nearest to it in
            pixels, mirrored if training mirrors. This reads every training image.
        batch_size: images generated at a time; None for what a micro-batch of the training allows.
        first_step: the step of the early row; None for none. There is none either if a grid comes within SOON steps
            anyway, or at the end only.

    Attributes:
        images: the latest whole grid, uint8 (n, C, H, W), on rank 0; None before it.
        way: how the first few of this rank's came out of the noise, for the run's page.
    """

    activity = "drawing"

    def __init__(
        self,
        every_n_steps: int | None,
        num_images: int,
        columns: int,
        sampler: Sampler,
        guidance: float | None = None,
        seed: int = 0,
        neighbours: bool = False,
        batch_size: int | None = None,
        first_step: int | None = 1,
    ):
        super().__init__(every_n_steps)
        counts = {"num_images": num_images, "columns": columns, "batch_size": batch_size, "first_step": first_step}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UserError(f"callbacks.samples.{name}={count} must be at least 1")
        self.num_images, self.columns, self.sampler = num_images, columns, sampler
        self.guidance, self.seed, self.neighbours = guidance, seed, neighbours
        self.batch_size, self.first_step = batch_size, first_step
        self.images: Tensor | None = None
        self.way: Trajectory | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Check the sampler and the guidance, before a failure costs anything."""
        check_sampler(self.sampler, pl_module)
        scale_for(pl_module, self.guidance)
        variance = getattr(self.sampler, "variance", None)
        if pl_module.loss.learns_variance and variance is not None and not variance.learned:
            log.info(
                "samples      are drawn without the variance that is learned: sampler=ancestral "
                "sampler.variance._target_=inkwash.process.variances.LearnedRange uses it"
            )

    def due(self, trainer: L.Trainer) -> bool:
        return super().due(trainer) or self._early(trainer)

    def _early(self, trainer: L.Trainer) -> bool:
        """Return whether the early row, and no whole grid, is due after this step."""
        if super().due(trainer) or trainer.global_step != self.first_step or self.every_n_steps is None:
            return False
        return min(self.every_n_steps, trainer.max_steps) > SOON

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        early, way = self._early(trainer), None
        if trainer.is_global_zero and not early:
            shown, frames = fitting(image_shape(trainer))
            way = Trajectory(module.denoiser.schedule, shown, frames // 2, decoder(trainer))
        images = self._generate(trainer, module, min(self.num_images, self.columns) if early else self.num_images, way)
        if not trainer.is_global_zero:
            return
        step, folder = trainer.global_step, run_directory(trainer).samples
        classes = run_directory(trainer).classes if module.num_classes is not None else []
        sheet = headed(grid(images, self.columns), self.columns, classes)
        save_png(sheet, folder / f"step-{step:08d}.png")
        if early:
            log.info("samples      first %d images: %s", len(images), folder / f"step-{step:08d}.png")
        labels = labels_for(range(len(images)), module.num_classes)
        for logger in trainer.loggers:
            send_samples(logger, sheet, images, labels, step)
        if way is not None:
            way.finish(images[:: trainer.world_size])
            self.images, self.way = images, way
        if self.neighbours and not early:
            data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            pairs = torch.stack([images, nearest_images(images, data.train, data.flip)], dim=1).flatten(0, 1)
            sheet = grid(pairs, 2 * self.columns)
            save_png(sheet, folder / f"neighbours-step-{step:08d}.png")
            for logger in trainer.loggers:
                send_picture(logger, "neighbours", sheet, step)

    def _generate(self, trainer: L.Trainer, module: DiffusionModule, n: int, watch: Watch | None) -> Tensor:
        """Return images 0 .. n - 1 on every rank, uint8 (n, C, H, W)."""
        images = torch.zeros(n, *image_shape(trainer), dtype=torch.int32, device=module.device)
        options: Any = {"guidance": self.guidance, "seed": self.seed, "batch_size": self.batch_size, "watch": watch}
        for indices, batch in generate_local(trainer, module, n, self.sampler, **options):
            images[list(indices)] = batch.int()
        # Each rank fills its own images and leaves zeros elsewhere, so the sum gathers them in order.
        return trainer.strategy.reduce(images, reduce_op="sum").to("cpu", torch.uint8)

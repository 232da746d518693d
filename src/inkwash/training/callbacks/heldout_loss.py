"""Measure the loss on held-out images, always at the same times and noise."""

import logging
from typing import Any

import lightning as L
import torch

from inkwash.autoencoders.base import Autoencoder, latent_noise
from inkwash.errors import UserError
from inkwash.images import to_float
from inkwash.random import generator
from inkwash.runs.best import HELDOUT_LOSS
from inkwash.training.callbacks.generation import autoencoder_of, images_at_a_time
from inkwash.training.callbacks.periodic import Periodic, log_metrics
from inkwash.training.module import DiffusionModule
from inkwash.training.precision import autocast

log = logging.getLogger(__name__)


class HeldoutLoss(Periodic):
    """Logs heldout/loss, the mean loss of the averaged weights: comparable between steps and runs.

    Image i of n has the time at fraction (i + 1/2) / n of the schedule's range, the noise of (seed, i), and its label,
    for any batch size and number of ranks.

    Args:
        every_n_steps: the cadence.
        num_images: number of held-out images, the first ones; None for all.
        seed: determines the noise.
        batch_size: images at a time; None for a micro-batch of the training.
    """

    activity = "measuring"

    def __init__(
        self, every_n_steps: int | None, num_images: int | None = None, seed: int = 0, batch_size: int | None = None
    ):
        super().__init__(every_n_steps)
        if any(number is not None and number < 1 for number in (num_images, batch_size)):
            raise UserError(f"callbacks.heldout: num_images={num_images}, batch_size={batch_size} must be at least 1")
        self.num_images, self.seed, self.batch_size = num_images, seed, batch_size

    @torch.no_grad()
    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        images = data.heldout
        if not len(images):
            return
        n = len(images) if self.num_images is None else min(self.num_images, len(images))
        local = range(trainer.global_rank, n, trainer.world_size)
        size = images_at_a_time(trainer, self.batch_size)
        total = torch.zeros((), dtype=torch.float64, device=module.device)
        with autocast(str(trainer.precision), module.device):
            for start in range(0, len(local), size):
                part = local[start : start + size]
                total += self._losses(module, images, autoencoder_of(trainer), part, n).double().sum()
        loss = float(trainer.strategy.reduce(total, reduce_op="sum")) / n
        log_metrics(trainer, {"heldout/loss": loss})
        module.add_scores({HELDOUT_LOSS: loss})

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not len(trainer.datamodule.heldout):  # pyright: ignore[reportAttributeAccessIssue]
            log.info("heldout      no images are held out, so their loss is not measured")
            return
        pl_module.lower_is_better[HELDOUT_LOSS] = True

    def _losses(
        self, module: DiffusionModule, images: Any, autoencoder: Autoencoder | None, indices: range, n: int
    ) -> torch.Tensor:
        """Return the losses (len(indices),) of some of the first n images."""
        pixels, labels = images.__getitems__(list(indices))
        x_0 = self._encoded(autoencoder, to_float(pixels.to(module.device)), indices)
        noise = [torch.randn(x_0.shape[1:], generator=generator(self.seed, "heldout", offset=i)) for i in indices]
        u = (torch.tensor(list(indices), dtype=torch.float64, device=module.device) + 0.5) / n
        t = module.ema_denoiser.schedule.time_at(u)
        y = labels.to(module.device) if module.num_classes is not None else None
        return module.loss.objective(module.ema_denoiser, x_0, torch.stack(noise).to(module.device), t, y)

    def _encoded(self, autoencoder: Autoencoder | None, x: torch.Tensor, indices: range) -> torch.Tensor:
        """Return x_0 of the network: images x (n, C, H, W), or their latents, drawn for (seed, i)."""
        if autoencoder is None:
            return x
        shape = autoencoder.latent_shape
        eps = latent_noise(shape, self.seed, "heldout", 0, indices).to(x.device) if autoencoder.draws else None
        return autoencoder.encode(x, eps)

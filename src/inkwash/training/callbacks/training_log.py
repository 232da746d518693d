"""Loss, learning rate, gradient norm and throughput, every so many steps."""

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.training.callbacks.periodic import Summing, log_metrics
from inkwash.training.module import DiffusionModule


class TrainingLog(Summing):
    """Logs the mean loss since the last line over all ranks, without a device synchronisation in between.

    Images a second leave out the time that grids, metrics and checkpoints take.
    """

    pauses_training = False

    def __init__(self, every_n_steps: int = 50):
        super().__init__(every_n_steps, 2)  # losses and images

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._restart(pl_module)

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        losses = outputs["losses"]
        self.sums += torch.stack([losses.sum(), torch.full_like(losses[0], len(losses))])
        self._timed += len(losses)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        total, images = trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        seconds = time.perf_counter() - self._start - (module.paused_seconds - self._paused)
        module.latest = {
            "train/loss": total / images,
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train/grad_norm": float(module.grad_norm),
            "train/images_per_second": self._timed * trainer.world_size / seconds,
        }
        log_metrics(trainer, module.latest)
        self.sums = torch.zeros_like(self.sums)
        self._restart(module)

    def _restart(self, module: DiffusionModule) -> None:
        self._timed = 0  # less than images after a resume
        self._start, self._paused = time.perf_counter(), module.paused_seconds

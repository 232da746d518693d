"""Log loss, learning rate, gradient norm and throughput."""

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from inkwash.training.callbacks.periodic import Summing, log_metrics
from inkwash.training.module import DiffusionModule


class TrainingLog(Summing):
    """Logs the training's own values, without a device synchronisation between two cadences.

    train/loss                        mean over all images of all ranks since the last time
    train/learning_rate, train/grad_norm (before clipping), train/loss_scale (precision 16-mixed)
    train/images_per_second           without the time that grids, metrics and checkpoints take
    train/images_per_second_per_rank, train/communication     with several ranks; see `communication`
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
        if (scaler := getattr(trainer.precision_plugin, "scaler", None)) is not None:  # precision 16-mixed
            module.latest["train/loss_scale"] = scaler.get_scale()
        if trainer.world_size > 1:
            waiting = torch.tensor(communication(trainer.strategy.model), device=module.device)
            module.latest |= {
                "train/images_per_second_per_rank": self._timed / seconds,
                "train/communication": float(trainer.strategy.reduce(waiting, reduce_op="mean")),
            }
        log_metrics(trainer, module.latest)
        self.sums = torch.zeros_like(self.sums)
        self._restart(module)

    def _restart(self, module: DiffusionModule) -> None:
        self._timed = 0  # images of this process; after a resume `sums` counts more
        self._start, self._paused = time.perf_counter(), module.paused_seconds


def communication(model: Any) -> float:
    """Return the fraction of the time of forward and backward passes that a rank waits for gradients of others.

    By DDP's own clock, which measures the first ten steps and then every hundredth: the part of the exchange that does
    not overlap with the backward pass. One rank alone would have 0. NaN before it is measured, and without DDP.
    """
    if not isinstance(model, DistributedDataParallel):
        return float("nan")
    clock = model._get_ddp_logging_data()
    exposed = clock.get("avg_backward_comm_time", 0) - clock.get("avg_backward_compute_comm_overlap_time", 0)
    computing = clock.get("avg_forward_compute_time", 0) + clock.get("avg_backward_compute_time", 0)
    return exposed / (exposed + computing) if computing else float("nan")

"""Log the training loss by noise level."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.weightings import snr
from inkwash.training.callbacks.periodic import Summing, log_metrics
from inkwash.training.module import DiffusionModule

AT_ONCE = 64  # micro-batches


class LossByNoise(Summing):
    """Logs the mean loss in each bin of log SNR = log(alpha^2 / sigma^2): loss_by_log_snr/-4_to_-2, ...

    The mean is over all images of all ranks since the last time, each with the loss before it makes up for how often
    its t is drawn, which would make all bins alike. Bins without an image are left out. A bad schedule shows here long
    before it shows in samples.

    Args:
        every_n_steps: the cadence.
        low, high, bins: bins of equal width between these; values outside count in the outermost bins.
    """

    pauses_training = False

    def __init__(self, every_n_steps: int, low: float = -10.0, high: float = 10.0, bins: int = 10):
        if bins < 1 or not low < high:
            raise UserError(f"callbacks.loss_by_noise: bins={bins} must be at least 1 and low={low} below high={high}")
        super().__init__(every_n_steps, 2, bins, dtype=torch.float64)
        self.low, self.width, self.bins = low, (high - low) / bins, bins
        self._waiting: list[tuple[Tensor, Tensor]] = []  # times and losses of micro-batches

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        self._waiting.append((outputs["t"], outputs["raw"]))
        if len(self._waiting) == AT_ONCE:
            self._add(module)

    def _add(self, module: DiffusionModule) -> None:
        """Add what waits to the sums, image by image: many micro-batches take as long as one."""
        if not self._waiting:
            return
        t, losses = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        log_snr = snr(*module.denoiser.schedule(t)).flatten().log()
        index = ((log_snr - self.low) / self.width).clamp(0, self.bins - 1).long()
        losses = losses.double()
        self.sums.index_add_(1, index, torch.stack([losses, torch.ones_like(losses)]))

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._add(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        self._add(module)
        sums, counts = trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        self.sums = torch.zeros_like(self.sums)
        means = {self._name(i): total / n for i, (total, n) in enumerate(zip(sums, counts, strict=True)) if n}
        log_metrics(trainer, {f"loss_by_log_snr/{name}": value for name, value in means.items()})

    def _name(self, index: int) -> str:
        ends = (self.low + self.width * index, self.low + self.width * (index + 1))
        return "_to_".join(f"{end:.4g}" if math.isfinite(end) else str(end) for end in ends)

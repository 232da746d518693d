"""Log the training loss by noise level."""

import math

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.weightings import snr
from inkwash.training.callbacks.periodic import Summing, log_metrics
from inkwash.training.module import DiffusionModule


class LossByNoise(Summing):
    """Logs the mean loss in each bin of log SNR = log(alpha^2 / sigma^2): loss_by_log_snr/-4_to_-2, ...

    The mean is over all images of all ranks since the last time. Bins without an image are left out. A bad schedule
    shows here long before it shows in samples.

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

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        log_snr = snr(*module.denoiser.schedule(outputs["t"])).flatten().log()
        index = ((log_snr - self.low) / self.width).clamp(0, self.bins - 1).long()
        losses = outputs["losses"].double()
        self.sums.index_add_(1, index, torch.stack([losses, torch.ones_like(losses)]))

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        sums, counts = trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        self.sums = torch.zeros_like(self.sums)
        means = {self._name(i): total / n for i, (total, n) in enumerate(zip(sums, counts, strict=True)) if n}
        log_metrics(trainer, {f"loss_by_log_snr/{name}": value for name, value in means.items()})

    def _name(self, index: int) -> str:
        ends = (self.low + self.width * index, self.low + self.width * (index + 1))
        return "_to_".join(f"{end:.4g}" if math.isfinite(end) else str(end) for end in ends)

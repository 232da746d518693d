"""Log the distance of the averaged weights from the weights."""

import lightning as L
import torch

from inkwash.training.callbacks.periodic import Periodic, log_metrics
from inkwash.training.fsdp import whole
from inkwash.training.module import DiffusionModule


class EMADistance(Periodic):
    """Logs train/ema_distance = |average - weights| / |weights|, Euclidean norms over all parameters.

    It falls with the learning rate. If it stays at 0 or grows without bound, the decay is wrong.
    """

    pauses_training = False

    def __init__(self, every_n_steps: int):
        super().__init__(every_n_steps)

    @torch.no_grad()
    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        raw, average = ([p.float() for p in whole(d.net.parameters())] for d in (module.denoiser, module.ema_denoiser))
        difference = torch._foreach_sub(average, raw)
        distance, length = (torch.stack(torch._foreach_norm(x)).norm() for x in (difference, raw))
        log_metrics(trainer, {"train/ema_distance": float(distance / length)})

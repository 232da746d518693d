"""A callback: what it gives to self.log is in metrics.csv and on every dashboard, at its step."""

from typing import Any

import lightning as L
import torch
from inkwash.training.callbacks.periodic import Periodic


class WeightNorm(Periodic):
    """Logs the Euclidean norm of all weights, every so many steps and at the end."""

    def run(self, trainer: L.Trainer, module: Any) -> None:
        norms = [parameter.detach().norm() for parameter in module.denoiser.parameters()]
        self.log("weights/norm", torch.stack(norms).norm())

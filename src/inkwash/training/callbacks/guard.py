"""Stop at the first loss that is not a number."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.training.callbacks.periodic import Periodic
from inkwash.training.module import DiffusionModule


class FiniteLoss(Periodic):
    """Ends the run in one sentence that names the step, the times t and the precision.

    Every step is watched, without waiting for the device; the verdict is read every `every_n_steps`. Checkpoints look
    at the weights before they are written (checkpoints.py), so those that are kept are sound.
    """

    pauses_training = False

    def __init__(self, every_n_steps: int = 10):
        super().__init__(every_n_steps)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._worst = self._clear(pl_module.device)

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        bad = ~outputs["losses"].isfinite()
        t = outputs["t"].float()
        inf = torch.full_like(t, torch.inf)
        step = torch.where(bad.any(), float(trainer.global_step), torch.inf).to(t)
        # Earliest step, least t and, negated, greatest t: one minimum keeps all three.
        now = torch.stack([step, torch.where(bad, t, inf).min(), torch.where(bad, -t, inf).min()])
        self._worst = torch.minimum(self._worst, now)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        step, low, minus_high = self._worst.tolist()
        if step < torch.inf:
            raise UserError(
                f"the loss stopped being a number at step {step:.0f} (t from {low:g} to {-minus_high:g}, precision "
                f"{trainer.precision}); the last good checkpoint is kept: lower optimizer.lr or try "
                "trainer.precision=32-true"
            )

    @staticmethod
    def _clear(device: torch.device) -> Tensor:
        return torch.full((3,), torch.inf, device=device)

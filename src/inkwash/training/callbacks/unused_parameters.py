"""Warn of parameters that get no gradient, and of averages that do not follow their weights."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from inkwash.errors import UserError
from inkwash.training.fsdp import whole

log = logging.getLogger(__name__)


class IdleParameters(L.Callback):
    """Warns once, after the first steps, of parameters that no gradient has reached and of averages that stand still.

    Layers that start at zero pass no gradient to the layers before them for a step or two, so this takes many steps.

    Args:
        after_steps: number of steps since this process began.
    """

    def __init__(self, after_steps: int = 100):
        if after_steps < 1:
            raise UserError(f"callbacks.idle.after_steps={after_steps} must be at least 1")
        self.after_steps = after_steps
        self._at = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._at = trainer.global_step + self.after_steps
        own = dict(pl_module.named_parameters())
        self._own = {name: p for name, p in own.items() if not name.startswith(("ema_", "averages."))}
        pairs = ((name, own.get(f"ema_{name}")) for name in self._own)
        self._averages = {name: average for name, average in pairs if average is not None}
        self._reached = torch.zeros(len(self._own), dtype=torch.bool, device=pl_module.device)
        self._before = self._norms()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        if trainer.global_step >= self._at:
            return
        with_gradient = [i for i, p in enumerate(self._own.values()) if p.grad is not None]
        if with_gradient:
            gradients = whole(p.grad for p in self._own.values() if p.grad is not None)
            self._reached[with_gradient] |= torch.stack([*torch._foreach_norm(gradients)]) > 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step != self._at:
            return
        self._at = -1
        idle = [name for name, reached in zip(self._own, self._reached.tolist(), strict=True) if not reached]
        if idle:
            log.warning("idle         no gradient has reached %s in %d steps", _some(idle), self.after_steps)
        own, averages = (now != then for now, then in zip(self._norms(), self._before, strict=True))
        still = [
            name
            for name, moved, followed in zip(self._averages, own.tolist(), averages.tolist(), strict=True)
            if moved and not followed
        ]
        if still:
            log.warning(
                "idle         the average of %s did not change in %d steps, although the weights did: lower ema.decay "
                "or ema.exponent",
                _some(still),
                self.after_steps,
            )

    def _norms(self) -> tuple[Tensor, Tensor]:
        """Return the norms of the averaged parameters, and of their averages: whatever moves changes its norm."""
        own: list[Tensor] = [self._own[name].detach() for name in self._averages]
        averages: list[Tensor] = [average.detach() for average in self._averages.values()]
        return _norms(own), _norms(averages)


def _norms(values: list[Tensor]) -> Tensor:
    return torch.stack([norm.float() for norm in torch._foreach_norm(whole(values))])


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more parameters"

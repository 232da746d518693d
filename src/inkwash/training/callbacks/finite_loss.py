"""Stop at the first loss or gradient that is not finite, or skip the step."""

import logging
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from inkwash.errors import UserError
from inkwash.training.buffers import copy_buffers
from inkwash.training.callbacks.periodic import Periodic
from inkwash.training.fsdp import whole
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


MOST = 1024  # micro-batches to keep


class Observed(NamedTuple):
    """A micro-batch: its step, times and losses, the gradient norm known then, and whether the step was left out."""

    step: int
    t: Tensor
    losses: Tensor
    grad_norm: Tensor
    left_out: bool


class FiniteLoss(Periodic):
    """Raises UserError, which names the step, the times t and the precision, at a loss or gradient that is not finite.

    Losses and gradient norms of every step are kept on the device, and looked at every `every_n_steps`, by all ranks.
    Weights that are not finite are never saved (checkpoints.py).

    Args:
        every_n_steps: how often the result is read.
        skip: number of such steps of a run that may be left out instead: they change neither the weights, the network's
            buffers nor the optimizer's state. The gradient is then checked before every step, for which a GPU has to be
            waited for.
            With precision 16-mixed an infinite gradient does not count: the gradient scaler lowers the loss scale and
            leaves the step out by itself.
    """

    pauses_training = False

    def __init__(self, every_n_steps: int = 10, skip: int = 0):
        super().__init__(1 if skip else every_n_steps)
        if skip < 0:
            raise UserError(f"callbacks.guard.skip={skip} must not be negative")
        self.skip, self.skipped = skip, 0
        self._left_out = False
        self._waiting: list[Observed] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._scaled = trainer.precision == "16-mixed"
        self._worst = self._clear(pl_module.device)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Drop a gradient that is not finite: an optimizer leaves a parameter without one as it is.

        All ranks hold the same gradient.
        """
        if not self.skip or self._scaled:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms = torch._foreach_norm(whole(p.grad for p in parameters if p.grad is not None))
        self._left_out = not bool(torch.stack([*norms]).isfinite().all())
        if self._left_out:
            for parameter in parameters:
                parameter.grad = None
            # The forward pass has updated them; the average has those of the step before.
            copy_buffers(pl_module.ema_denoiser.net, pl_module.denoiser.net, pl_module.net_buffers)

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        # Within the last micro-batch of a step, global_step counts it already.
        step = trainer.global_step + (trainer.global_step == self._seen)
        self._waiting.append(Observed(step, outputs["t"], outputs["losses"], module.grad_norm, self._left_out))
        if len(self._waiting) == MOST:
            self._judge()

    def _judge(self) -> None:
        """Note the first bad step of those that wait. All are looked at together first: nearly always they are fine."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        sound = torch.cat([seen.losses for seen in waiting]).isfinite().all()
        norms = torch.stack([seen.grad_norm for seen in waiting]).isfinite().all()
        if bool(sound & (norms.to(sound.device) | self._scaled)) and not any(seen.left_out for seen in waiting):
            return
        for seen in waiting:
            self._note(seen)

    def _note(self, seen: "Observed") -> None:
        bad = ~seen.losses.isfinite()
        t = seen.t.float()
        inf = torch.full_like(t, torch.inf)
        ruined = seen.left_out | (~seen.grad_norm.isfinite() & (not self._scaled)).to(t.device)
        at = torch.where(bad.any() | ruined, float(seen.step), torch.inf).to(t)
        # Step, least t and negated greatest t: the minimum over ranks finds all three. Only the first bad step counts.
        now = torch.stack([at, torch.where(bad, t, inf).min(), torch.where(bad, -t, inf).min()])
        both = torch.where(at == self._worst[0], torch.minimum(self._worst, now), self._worst)
        self._worst = torch.where(at < self._worst[0], now, both)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        self._judge()
        step = float(self._least(trainer, self._worst[0].clone()))
        if step == torch.inf:
            return
        mine = torch.where(self._worst[0] == step, self._worst, torch.inf)
        _, low, minus_high = self._least(trainer, mine).tolist()
        what, times = ("loss", f"t from {low:g} to {-minus_high:g}, ") if low < torch.inf else ("gradient", "")
        where = f"step {step:.0f} ({times}precision {trainer.precision})"
        if self.skipped < self.skip:
            self.skipped += 1
            self._left_out, self._worst = False, self._clear(module.device)
            log.warning("left out     %s: the %s is not finite; %d of %d", where, what, self.skipped, self.skip)
            return
        more_bits = "" if trainer.precision in ("32-true", "64-true") else "try trainer.precision=32-true, "
        raise UserError(
            f"the {what} stopped being a number at {where}; the last good checkpoint is kept: lower optimizer.lr "
            f"(and with Muon optimizer.adamw_lr), {more_bits}or leave out a few such steps with callbacks.guard.skip=5"
        )

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]

    @staticmethod
    def _least(trainer: L.Trainer, value: Tensor) -> Tensor:
        """Return the minimum over all ranks."""
        if trainer.world_size == 1:
            return value
        return trainer.strategy.reduce(value, reduce_op="min")  # pyright: ignore[reportReturnType]

    @staticmethod
    def _clear(device: torch.device) -> Tensor:
        return torch.full((3,), torch.inf, device=device)

"""Shortcut models: a jump is two jumps of half its length."""

import math

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.losses.jumps import JumpLoss, Velocity, check_same, tau_of
from inkwash.process.forward import mix
from inkwash.process.schedules import Schedule
from inkwash.process.times import Times
from inkwash.process.weightings import Weighting
from inkwash.random import Draws

BOUND = 4.0  # of the target's values, in the published code


class ShortcutLoss(JumpLoss):
    """Shortcut loss: flow matching, and u(z, t, s) = the mean of its two half jumps (Frans et al. 2024, eq. 5).

    Lengths are 1, 1/2, 1/4, ... down to 2 / steps, and t a multiple of the length; half of the last is Euler's step,
    with u(z, t, t). The half jumps are the network's own, without gradient (the paper: those of its average).
    No derivative, but what short jumps have wrong the long ones inherit.

    Args:
        steps: a power of 2: the shortest step has this part of the path.
        same: share of the images with s = t, which learn the velocity, eps - x_0, at `times`.
        times, guidance, mix, power, offset, label_dropout, weighting: see JumpLoss.

    Raises:
        UserError: a value is out of its range.
    """

    name = "shortcut"

    def __init__(
        self,
        times: Times,
        steps: int = 128,
        same: float = 0.75,
        guidance: float = 1.0,
        mix: float = 0.0,
        power: float = 0.0,
        offset: float = 0.01,
        label_dropout: float = 0.1,
        weighting: Weighting | None = None,
    ):
        super().__init__(times, guidance, mix, power, offset, label_dropout, weighting)
        if steps < 2 or steps & (steps - 1):
            raise UserError(f"loss.steps={steps} must be a power of 2: 2, 4, ..., 128, ...")
        check_same(same)
        self.steps, self.same = steps, same

    def ends(self, schedule: Schedule, t: Tensor, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        level, place, kind = (draws.uniform(len(t)) for _ in range(3))
        jumps = 2 ** (level * math.log2(self.steps)).floor()  # of this length, from 1 to 0
        start = ((place * jumps).floor() + 1) / jumps
        same = kind < self.same
        return torch.where(same, t, start), {"s": torch.where(same, t, start - 1 / jumps)}

    def target(self, u: Velocity, z: Tensor, v: Tensor, found: Tensor, t: Tensor, s: Tensor) -> Tensor:
        middle = (t + s) / 2
        euler = t - middle < 1.5 / self.steps  # below this no jump is learned
        tau, tau_middle, tau_s = (tau_of(u.schedule, time) for time in (t, middle, s))
        first = u(z, t, torch.where(euler, t, middle))
        one = torch.ones_like(tau)
        second = u(mix(one, z, tau_middle - tau, first), middle, torch.where(euler, middle, s))
        moved = mix(tau - tau_middle, first, tau_middle - tau_s, second)
        mean = moved / (tau - tau_s).clamp(min=1e-9).to(moved.dtype)
        return torch.where((s < t).view(-1, 1, 1, 1), mean.clamp(-BOUND, BOUND), v)

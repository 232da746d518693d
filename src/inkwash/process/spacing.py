"""Sampling times: which times a sampler visits, noisiest first, ending at 0 (clean data).

Names are those of Lin et al. 2023, table 2, counted here from 1: DDPM's index t - 1 is our t.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.schedules import Schedule


class Spacing(ABC):
    """Lists the times of a sampling run.

    Args:
        steps: number of steps; None takes every time of a discrete schedule.
    """

    def __init__(self, steps: int | None = None):
        if steps is not None and steps < 1:
            raise UserError(f"spacing.steps={steps} must be at least 1")
        self.steps = steps

    def __call__(self, schedule: Schedule) -> Tensor:
        """Times, float64, (steps + 1,), falling strictly from at most t_max to 0."""
        steps = self.steps
        if steps is None:
            if not schedule.discrete:
                raise UserError("spacing.steps must be a number: this schedule's time is continuous")
            steps = int(schedule.t_max)
        if schedule.discrete and steps > schedule.t_max:
            raise UserError(f"spacing.steps={steps} is more than the schedule's T={int(schedule.t_max)}")
        return torch.cat([self.times(schedule, steps).double(), torch.zeros(1, dtype=torch.float64)])

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """The noisy times, (steps,), noisiest first."""


class Leading(Spacing):
    """t_min + i * stride (Ho et al.'s code and DDIM's): includes the least noisy time, may miss the noisiest."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.discrete:
            stride = int(schedule.t_max) // steps
            return schedule.t_min + stride * torch.arange(steps).flip(0)
        fractions = torch.arange(steps, dtype=torch.float64).flip(0) / steps
        return schedule.t_min + (schedule.t_max - schedule.t_min) * fractions


class Trailing(Spacing):
    """t_max - i * t_max / steps: always starts from pure noise, the sound choice for few steps (Lin et al. 2023)."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        times = schedule.t_max * torch.arange(steps, 0, -1, dtype=torch.float64) / steps
        return times.round() if schedule.discrete else times


class Linspace(Spacing):
    """Evenly from t_max to t_min, both included."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        times = torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
        # Halves are rounded as DDPM's index t - 1 is, to the even neighbour.
        return (times - 1).round() + 1 if schedule.discrete else times

"""Sampling times: the times a sampler visits, noisiest first, ending at 0 (clean data).

Names are those of Lin et al. 2023, table 2, counted here from 1: DDPM's index t - 1 is our t. In continuous time even
means even in what training draws from evenly (Schedule.time_at): on EDM's path, where time is sigma itself and 50 even
steps would end at 1.6, that is log sigma.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.schedules import Schedule


class Spacing(ABC):
    """Sampling times of a run.

    Args:
        steps: number of steps; None takes every time of a discrete schedule.
    """

    def __init__(self, steps: int | None = None):
        if steps is not None and steps < 1:
            raise UserError(f"spacing.steps={steps} must be at least 1")
        self.steps = steps

    def __call__(self, schedule: Schedule) -> Tensor:
        """Return the times, float64, (steps + 1,), falling strictly from at most t_max to 0."""
        steps = self.steps
        if steps is None:
            if not schedule.discrete:
                raise UserError("spacing.steps must be a number: this schedule's time is continuous")
            steps = int(schedule.t_max)
        if schedule.discrete and steps > schedule.t_max:
            raise UserError(f"spacing.steps={steps} is more than the schedule's T={int(schedule.t_max)}")
        return torch.cat([self.times(schedule, steps).double().cpu(), torch.zeros(1, dtype=torch.float64)])

    @abstractmethod
    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """Return the noisy times, (steps,), noisiest first."""


class Leading(Spacing):
    """t_min + i * stride (Ho et al.'s code and DDIM's): includes the least noisy time, may miss the noisiest."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.discrete:
            stride = int(schedule.t_max) // steps
            return schedule.t_min + stride * torch.arange(steps).flip(0)
        return schedule.time_at(torch.arange(steps, dtype=torch.float64).flip(0) / steps)


class Trailing(Spacing):
    """T - i * T / steps on a chain: always starts from pure noise, the sound choice for few steps (Lin et al. 2023)."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        fractions = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
        return (schedule.t_max * fractions).round() if schedule.discrete else schedule.time_at(fractions)


class Shifted(Spacing):
    """Even fractions u of the range of times, from 1 down, moved to shift u / (1 + (shift - 1) u).

    On the flow path that multiplies sigma / alpha by `shift` (Esser et al. 2024, eq. 23): above 1 more of the steps
    have much noise. `Trailing` is shift = 1.

    Args:
        steps: number of steps.
        shift: 3 in the paper, for images of 1024 pixels; the noisier, the larger the images.
    """

    def __init__(self, steps: int | None = None, shift: float = 3.0):
        super().__init__(steps)
        if shift <= 0:
            raise UserError(f"spacing.shift={shift} must be positive: above 1 more of the steps have much noise")
        self.shift = shift

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        even = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
        fractions = self.shift * even / (1 + (self.shift - 1) * even)
        if not schedule.discrete:
            return schedule.time_at(fractions)
        return _distinct(schedule, (schedule.t_max * fractions).round().clamp(min=schedule.t_min))


class Linspace(Spacing):
    """Evenly from t_max to t_min, both included."""

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        if schedule.discrete:
            times = torch.linspace(schedule.t_max, schedule.t_min, steps, dtype=torch.float64)
            # Halves are rounded as DDPM's index t - 1 is, to the even neighbour.
            return (times - 1).round() + 1
        return schedule.time_at(torch.linspace(1, 0, steps, dtype=torch.float64))


class Karras(Spacing):
    """sigma / alpha^(1/rho) evenly spaced (Karras et al. 2022, eq. 5): more steps where there is little noise.

    Args:
        rho: 7 in the paper; 1 is even in sigma / alpha.
        sigma_min, sigma_max: its ends, within what the path has; None for the path's own.
    """

    def __init__(
        self,
        steps: int | None = None,
        rho: float = 7.0,
        sigma_min: float | None = 0.002,
        sigma_max: float | None = 80.0,
    ):
        super().__init__(steps)
        if rho <= 0:
            raise UserError(f"spacing.rho={rho} must be positive")
        self.rho, self.sigma_min, self.sigma_max = rho, sigma_min, sigma_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        low, high = _range(schedule, self.sigma_min, self.sigma_max)
        roots = torch.linspace(high ** (1 / self.rho), low ** (1 / self.rho), steps, dtype=torch.float64)
        return _distinct(schedule, schedule.time_of(roots**self.rho))


class LogSNR(Spacing):
    """log(sigma / alpha) evenly spaced, so log SNR is too (Lu et al. 2022a, section 3.4).

    Args:
        sigma_min, sigma_max: ends of sigma / alpha, within what the path has; None for the path's own.
    """

    def __init__(self, steps: int | None = None, sigma_min: float | None = 0.002, sigma_max: float | None = 80.0):
        super().__init__(steps)
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        low, high = _range(schedule, self.sigma_min, self.sigma_max)
        logs = torch.linspace(math.log(high), math.log(low), steps, dtype=torch.float64)
        return _distinct(schedule, schedule.time_of(logs.exp()))


def _range(schedule: Schedule, sigma_min: float | None, sigma_max: float | None) -> tuple[float, float]:
    """Return the ends of sigma / alpha: those asked for, cut to what the path has."""
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    low, high = schedule.sigma_over_alpha(ends).tolist()
    low, high = max(low, sigma_min or 0.0), min(high, sigma_max or math.inf)
    if not (0 < low < high < math.inf):
        raise UserError(
            f"spacing: sigma / alpha cannot run from {high:g} to {low:g} on this schedule: set spacing.sigma_min and "
            "spacing.sigma_max within its range"
        )
    return low, high


def _distinct(schedule: Schedule, times: Tensor) -> Tensor:
    """Return the times; raise UserError if two fall on the same step of a chain."""
    if schedule.discrete and len(times.unique()) < len(times):
        raise UserError(
            f"spacing.steps={len(times)}: so many steps fall on the same times of a schedule of "
            f"T={int(schedule.t_max)}: use fewer, or spacing=trailing"
        )
    return times

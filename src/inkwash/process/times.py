"""Training times: the distribution p(t) that the loss draws from."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkwash.dtypes import KeepDtype
from inkwash.errors import UserError
from inkwash.process.schedules import Schedule
from inkwash.random import Draws


class Times(ABC):
    """Draws training times.

    Attributes:
        learns: True if `learn` does anything; otherwise ranks exchange no losses.
        keeps_mean: True if a loss at these times, times `weight`, has the mean of uniform times.
    """

    learns = False
    keeps_mean = False

    @abstractmethod
    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        """Draw times for n images, float64, (n,)."""

    def weight(self, schedule: Schedule, t: Tensor) -> Tensor | None:
        """Return the factor of a loss drawn at t, (n,), that restores the mean over uniform times; None for 1.

        Only importance sampling has one: log-normal times, for example, are meant to change the objective.
        """
        return None

    def learn(self, t: Tensor, losses: Tensor) -> None:  # noqa: B027
        """Learn from the times and losses of all images of the global batch, after each step, alike on every rank.

        A loss that is not finite belongs to a step that was left out (callbacks/finite_loss.py), and is to be ignored.
        """


class Uniform(Times):
    """Independent and uniform (Ho et al. 2020, Algorithm 1)."""

    keeps_mean = True

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at(draws.uniform(n))


class Stratified(Times):
    """Uniform, but one time in each of N equal slices for a global batch of N (Kingma et al. 2021, appendix I.1).

    The loss has the same expectation and less variance: every batch sees every noise level.
    """

    keeps_mean = True

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at(draws.strata(n))


class LogNormal(Times):
    """log(sigma / alpha) ~ N(mean, std^2), within the path's range (Karras et al. 2022, table 1: -1.2 and 1.2)."""

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        if std <= 0:
            raise UserError(f"times.std={std} must be positive")
        self.mean, self.std = mean, std

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_of((self.mean + self.std * draws.normal(n).double()).exp())


class LogitNormal(Times):
    """Fraction sigmoid(N(mean, std^2)) of the path's range of times (Esser et al. 2024, eq. 19).

    With image_size the mean is that for images of noise_size pixels, and moves by ln(image_size / noise_size): on the
    flow path that multiplies sigma / alpha by their quotient, as t -> s t / (1 + (s - 1) t) does (eq. 23). Neighbouring
    pixels of a larger image tell the same, so that more noise is needed to hide as much.

    Args:
        mean, std: of the logit of the fraction.
        image_size: width of the images in pixels; None for no shift.
        noise_size: the width for which the mean is right.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, image_size: int | None = None, noise_size: int = 256):
        if std <= 0:
            raise UserError(f"times.std={std} must be positive")
        for name, size in {"image_size": image_size, "noise_size": noise_size}.items():
            if size is not None and size < 1:
                raise UserError(f"times.{name}={size} must be at least 1")
        self.mean = mean if image_size is None else mean + math.log(image_size / noise_size)
        self.std = std

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at((self.mean + self.std * draws.normal(n).double()).sigmoid())


class SecondMoment(KeepDtype, nn.Module, Times):
    """p(t) in proportion to the root of the mean squared loss at t, which the weight 1 / (T p(t)) makes up for.

    The least noisy estimate of the bound's gradient (Nichol & Dhariwal 2021, eq. 18). Uniform until every t has been
    seen `history` times. The times of a batch are stratified, as in `Stratified`. Its state is part of a checkpoint.

    Args:
        T: number of steps of the chain; None, for a path without steps, is refused.
        history: losses kept for each t.
        uniform: fraction of the times that stays uniform, so that p(t) > 0 for every t.
    """

    learns = True
    keeps_mean = True
    losses: Tensor
    counts: Tensor

    def __init__(self, T: int | None, history: int = 10, uniform: float = 0.001):
        super().__init__()
        if T is None:
            raise UserError("times=importance needs a chain of whole steps: use a beta schedule, or times=stratified")
        if T < 1 or history < 1 or not 0 < uniform <= 1:
            raise UserError("times: importance sampling needs T and history of at least 1 and uniform in (0, 1]")
        self.history, self.uniform = history, uniform
        self.register_buffer("losses", torch.zeros(T, history, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(T, dtype=torch.long))

    def probabilities(self) -> Tensor:
        """p(t) for t = 1..T, float64, (T,)."""
        T, p = len(self.counts), self.losses.square().mean(dim=1).sqrt()
        # If all losses are 0, p(t) stays uniform.
        p = torch.where(p.sum() > 0, p / p.sum(), 1 / T)
        return torch.where((self.counts < self.history).any(), 1 / T, (1 - self.uniform) * p + self.uniform / T)

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        if not schedule.discrete or schedule.t_max != len(self.counts):
            raise UserError(
                f"times: importance sampling of T={len(self.counts)} steps needs a chain of as many: "
                "use a beta schedule with times.T=${schedule.betas.T}, or times=stratified"
            )
        cumulative = self.probabilities().cumsum(0)
        index = torch.searchsorted(cumulative, draws.strata(n).to(cumulative.device), right=True)
        return index.clamp(max=len(cumulative) - 1).double() + 1

    def weight(self, schedule: Schedule, t: Tensor) -> Tensor | None:
        return 1 / (len(self.counts) * self.probabilities()[t.long() - 1])

    def learn(self, t: Tensor, losses: Tensor) -> None:
        # Each t has a row of the table, a ring buffer, and a t that comes several times in the batch fills several
        # places of it. A loss that later ones of the batch replace is written to an extra column, a loss to ignore to
        # an extra row; both are cut off.
        T = len(self.counts)
        row, order = torch.where(losses.isfinite(), t.long() - 1, T).sort(stable=True)
        nth = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
        seen = torch.zeros(T + 1, dtype=torch.long, device=row.device).index_add(0, row, torch.ones_like(row))
        place = (F.pad(self.counts, (0, 1))[row] + nth) % self.history
        place = torch.where(seen[row] - nth > self.history, self.history, place)
        table = F.pad(self.losses, (0, 1, 0, 1))
        table[row, place] = losses.double()[order]
        self.losses.copy_(table[:-1, :-1])
        self.counts.add_(seen[:-1])

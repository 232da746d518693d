"""Training times: the distribution p(t) that the loss draws from."""

from abc import ABC, abstractmethod

from torch import Tensor

from inkwash.process.schedules import Schedule
from inkwash.random import Draws


class Times(ABC):
    """Draws training times."""

    @abstractmethod
    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        """Times for n images, float64, (n,)."""


class Uniform(Times):
    """Independent and uniform (Ho et al. 2020, Algorithm 1)."""

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at(draws.uniform(n))


class Stratified(Times):
    """Uniform, but one time in each of N equal slices for a global batch of N (Kingma et al. 2021, appendix I.1).

    The loss has the same expectation and less variance: every batch sees every noise level.
    """

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at(draws.strata(n))


class LogNormal(Times):
    """log(sigma / alpha) ~ N(mean, std^2), within the path's range (Karras et al. 2022, table 1: -1.2 and 1.2)."""

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        self.mean, self.std = mean, std

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_of((self.mean + self.std * draws.normal(n).double()).exp())


class LogitNormal(Times):
    """A fraction sigmoid(N(mean, std^2)) of the path's range of times (Esser et al. 2024, eq. 19)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        self.mean, self.std = mean, std

    def __call__(self, schedule: Schedule, n: int, draws: Draws) -> Tensor:
        return schedule.time_at((self.mean + self.std * draws.normal(n).double()).sigmoid())

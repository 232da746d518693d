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

"""Ancestral sampling (Ho et al. 2020, Algorithm 2), for any pair of times of any path."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.process.forward import mix, posterior_variance, q_posterior, transition
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Sampling


class Variance(ABC):
    """The variance of p(x_s | x_t), which the simple loss does not learn (Ho et al. 2020, section 3.2)."""

    @abstractmethod
    def __call__(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        """Variance, float64, (n, 1, 1, 1)."""


class FixedSmall(Variance):
    """That of q(x_s | x_t, x_0), beta tilde_t: right when x_0 is a single point."""

    def __call__(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        return posterior_variance(schedule, s, t)


class FixedLarge(Variance):
    """That of q(x_t | x_s), beta_t: right when x_0 ~ N(0, I)."""

    def __call__(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        return transition(schedule, s, t)[1]


class Ancestral(Sampler):
    """Decode x_0, clip it, draw from q(x_s | x_t, x_0) with a variance of choice; no noise in the last step.

    Args:
        variance: FixedLarge is the choice of Ho et al.'s CIFAR-10 results.
    """

    def __init__(self, spacing: Spacing, variance: Variance, clip: float | None = 1.0, rederive_eps: bool = True):
        super().__init__(spacing, clip, rederive_eps)
        self.variance = variance

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        x_0, _ = run.denoise(x_t, t)
        mean, _ = q_posterior(run.schedule, x_0, x_t, s, t)
        variance = self.variance(run.schedule, s, t) * (s > 0).view(-1, 1, 1, 1)
        return mix(torch.ones_like(variance), mean, variance.sqrt(), run.noise())

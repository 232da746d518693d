"""Ancestral sampling (Ho et al. 2020, Algorithm 2), for any pair of times of any path."""

import torch
from torch import Tensor

from inkwash.process.forward import mix, q_posterior
from inkwash.process.spacing import Spacing
from inkwash.process.variances import Variance
from inkwash.samplers.base import Sampler, Sampling
from inkwash.samplers.clipping import Clip


class Ancestral(Sampler):
    """Ancestral sampler: decode x_0, clip it, draw from q(x_s | x_t, x_0) with the chosen variance.

    The last step adds no noise.

    Args:
        variance: FixedLarge is the choice of Ho et al.'s CIFAR-10 results; LearnedRange needs a network that learns it.
    """

    def __init__(
        self, spacing: Spacing, variance: Variance, clip: float | Clip | None = 1.0, rederive_eps: bool = True
    ):
        super().__init__(spacing, clip, rederive_eps)
        self.variance = variance

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        estimate = run.denoise(x_t, t)
        mean, _ = q_posterior(run.schedule, estimate.x_0, x_t, s, t)
        variance = self.variance(run.schedule, s, t, estimate.v) * (s > 0).view(-1, 1, 1, 1)
        return mix(torch.ones_like(variance), mean, variance.sqrt(), run.noise())

"""Exponential moving average (EMA) of the weights theta, after step n = 1, 2, ...:

    theta' <- d_n theta' + (1 - d_n) theta

A decay rule gives d_n. Both rules start at d_1 = 0, so that the average never holds the random initialisation.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from inkwash.denoiser import Denoiser
from inkwash.dtypes import KeepDtype
from inkwash.errors import UserError
from inkwash.training.fsdp import whole


class Decay(ABC):
    """Decay rule of an average of weights."""

    @abstractmethod
    def __call__(self, n: int) -> float:
        """Return d_n, the factor of the average in the n-th update, in [0, 1)."""


class PowerDecay(Decay):
    """d_n = (1 - 1/n)^exponent: an average over a fixed fraction of the steps so far (Karras et al. 2023, eq. 123).

    Args:
        exponent: gamma + 1 of the paper. 16 averages roughly the last 6% of the steps, whatever the length of the run.
    """

    def __init__(self, exponent: float = 16.0):
        if exponent < 1:
            raise UserError(f"ema.exponent={exponent} must be at least 1")
        self.exponent = exponent

    def __call__(self, n: int) -> float:
        return (1 - 1 / n) ** self.exponent


class ConstantDecay(Decay):
    """d_n = min(decay, n / (9 + n)), and d_1 = 0: the constant decay of Ho et al. 2020 with a warm-up.

    Args:
        decay: 0.9999 in the paper.
    """

    def __init__(self, decay: float = 0.9999):
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay={decay} must lie in [0, 1)")
        self.decay = decay

    def __call__(self, n: int) -> float:
        return 0.0 if n == 1 else min(self.decay, n / (9 + n))


class AverageDenoiser(KeepDtype, Denoiser):
    """Denoiser of averaged weights: they move between devices, but keep the dtype they were made in.

    A bf16 average would stand still: (1 - d_n) times a small difference is below the last of its 8 bits.
    """

    @classmethod
    def of(cls, denoiser: Denoiser) -> "AverageDenoiser":
        """Return a copy of the denoiser that takes no gradient."""
        average = cls(copy.deepcopy(denoiser.net), denoiser.schedule, denoiser.prediction)
        return average.requires_grad_(False).eval()


@torch.no_grad()
def update(average: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """Set average <- decay * average + (1 - decay) * weights, parameter by parameter."""
    means = [*average]
    values = [v if v.dtype == m.dtype else v.to(m.dtype) for v, m in zip(whole(weights), means, strict=True)]
    get_ema_multi_avg_fn(decay)(means, values, None)

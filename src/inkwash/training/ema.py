"""Decay rules of the exponential moving average of weights: update n = 1, 2, ... keeps decay(n) of the average.

Both rules start at decay(1) = 0 or close to it, so a short run's average is never the random initialisation.
"""

import copy
from abc import ABC, abstractmethod

import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.dtypes import KeepDtype
from inkwash.errors import UserError
from inkwash.nets.network import Network
from inkwash.training.fsdp import whole


class Decay(ABC):
    @abstractmethod
    def __call__(self, n: int) -> float:
        """Share of the average that the n-th update keeps, in [0, 1)."""


class PowerDecay(Decay):
    """(1 - 1/n)^exponent: an average over a fixed share of the training so far (Karras et al. 2023, eq. 123).

    An exponent of 16 (gamma = 15 there) averages about the last 6% of the steps, whatever the length of the run.
    """

    def __init__(self, exponent: float = 16.0):
        if exponent < 1:
            raise UserError(f"ema.exponent={exponent} must be at least 1")
        self.exponent = exponent

    def __call__(self, n: int) -> float:
        return (1 - 1 / n) ** self.exponent


class ConstantDecay(Decay):
    """min(decay, (1 + k) / (10 + k)) after k = n - 1 updates; 0 at first: Ho et al.'s 0.9999 with a warm-up."""

    def __init__(self, decay: float = 0.9999):
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay={decay} must lie in [0, 1)")
        self.decay = decay

    def __call__(self, n: int) -> float:
        return 0.0 if n == 1 else min(self.decay, n / (9 + n))


class AverageDenoiser(KeepDtype, Denoiser):
    """A denoiser of averaged weights, which keep the precision they were made in.

    A bf16 average stands still: (1 - decay) of a small difference is less than the last of its 8 bits.
    """

    @classmethod
    def of(cls, denoiser: Denoiser) -> "AverageDenoiser":
        """A copy of the denoiser that takes no gradient."""
        average = cls(copy.deepcopy(denoiser.net), denoiser.schedule, denoiser.prediction)
        return average.requires_grad_(False).eval()


@torch.no_grad()
def update(average: nn.Module | Network, model: nn.Module | Network, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, parameter by parameter."""
    averages: list[torch.Tensor] = list(average.parameters())
    values = [value.to(mean.dtype) for value, mean in zip(whole(model.parameters()), averages, strict=True)]
    torch._foreach_lerp_(averages, values, 1 - decay)

"""Weights of the loss at each noise level, given for the error in target space.

With x_t fixed, an error e in y is an error -(sigma / det) e in x_0 (see predictions.py), so a weight w on the squared
x_0 error is w * (sigma / det)^2 on the squared target error: one formula serves every prediction.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError


def snr(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Signal to noise ratio alpha^2 / sigma^2."""
    return (alpha / sigma) ** 2


class Weighting(ABC):
    """Multiplies the loss in target space."""

    @abstractmethod
    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        """The weight, float64, of the shape of its arguments."""


class Uniform(Weighting):
    """1: the simple loss (Ho et al. 2020, eq. 14), whatever is predicted."""

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return torch.ones_like(alpha)


class MinSNR(Weighting):
    """min(SNR, gamma) on the x_0 error: min(SNR, gamma) / SNR for eps, / (SNR + 1) for v (Hang et al. 2023)."""

    def __init__(self, gamma: float = 5.0):
        if gamma <= 0:
            raise UserError(f"weighting.gamma={gamma} must be positive")
        self.gamma = gamma

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return snr(alpha, sigma).clamp(max=self.gamma) * (sigma / det) ** 2

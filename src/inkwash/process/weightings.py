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
    """Multiplies the loss in target space. A new one writes `of_x_0`, the weight of the squared x_0 error."""

    @abstractmethod
    def of_x_0(self, snr: Tensor) -> Tensor:
        """The weight of the squared x_0 error at a signal to noise ratio, float64."""

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        """The weight of the squared error in target space, float64, of the shape of its arguments."""
        return self.of_x_0(snr(alpha, sigma)) * (sigma / det) ** 2


class Uniform(Weighting):
    """1: the simple loss (Ho et al. 2020, eq. 14), whatever is predicted."""

    def of_x_0(self, snr: Tensor) -> Tensor:
        raise TypeError("what the simple loss says of x_0 depends on the prediction")

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return torch.ones_like(alpha)


class MinSNR(Weighting):
    """min(SNR, gamma): min(SNR, gamma) / SNR for eps, / (SNR + 1) for v (Hang et al. 2023)."""

    def __init__(self, gamma: float = 5.0):
        self.gamma = _positive("gamma", gamma)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr.clamp(max=self.gamma)


class SoftMinSNR(Weighting):
    """gamma SNR / (SNR + gamma), min-SNR with its corner rounded (Crowson et al. 2024, section 4.2)."""

    def __init__(self, gamma: float = 4.0):
        self.gamma = _positive("gamma", gamma)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return self.gamma * snr / (snr + self.gamma)


class P2(Weighting):
    """SNR / (k + SNR)^gamma, that is 1 / (k + SNR)^gamma for eps (Choi et al. 2022, eq. 8)."""

    def __init__(self, gamma: float = 1.0, k: float = 1.0):
        self.gamma, self.k = gamma, _positive("k", k)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr / (self.k + snr) ** self.gamma


class Sigmoid(Weighting):
    """SNR * sigmoid(bias - log SNR), that is sigmoid(bias - log SNR) for eps (Hoogeboom et al. 2024, SiD2)."""

    def __init__(self, bias: float = 2.0):
        self.bias = bias

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr * torch.sigmoid(self.bias - snr.log())


class EDM(Weighting):
    """SNR + 1 / sigma_data^2 (Karras et al. 2022, table 1): 1 for EDM's prediction, and for v at sigma_data = 1."""

    def __init__(self, sigma_data: float = 0.5):
        self.sigma_data = _positive("sigma_data", sigma_data)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr + 1 / self.sigma_data**2


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise UserError(f"weighting.{name}={value} must be positive")
    return value

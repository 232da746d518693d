"""Weightings: weights of the loss at each noise level, given for the error in target space.

With x_t fixed, an error e in y is an error -(sigma / det) e in x_0 (see predictions.py), so a weight w on the squared
x_0 error is w * (sigma / det)^2 on the squared target error: one formula serves every prediction.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.process.forward import posterior_coefficients
from inkwash.process.schedules import Schedule
from inkwash.process.variances import Variance, first_log_variance


def snr(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the signal to noise ratio alpha^2 / sigma^2."""
    return (alpha / sigma) ** 2


class Weighting(ABC):
    """Weight of the loss at each noise level, in target space."""

    @abstractmethod
    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        """Return the weight of the squared error in target space, float64, of the shape of its arguments."""

    def weigh(self, error: Tensor, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        """Return the weighted loss (n,) of each image's mean error (n,)."""
        return error * self(alpha, sigma, det).flatten().to(error.dtype)


class X0Weighting(Weighting):
    """Weighting that is a function of SNR alone when it is given for the x_0 error. A new one writes `of_x_0`."""

    @abstractmethod
    def of_x_0(self, snr: Tensor) -> Tensor:
        """Return the weight of the squared x_0 error at a signal to noise ratio, float64."""

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return self.of_x_0(snr(alpha, sigma)) * (sigma / det) ** 2


class Uniform(Weighting):
    """Weight 1: the simple loss (Ho et al. 2020, eq. 14), whatever is predicted."""

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return torch.ones_like(alpha)


class MinSNR(X0Weighting):
    """min(SNR, gamma): min(SNR, gamma) / SNR for eps, / (SNR + 1) for v (Hang et al. 2023)."""

    def __init__(self, gamma: float = 5.0):
        self.gamma = _positive("gamma", gamma)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr.clamp(max=self.gamma)


class SoftMinSNR(X0Weighting):
    """gamma SNR / (SNR + gamma), min-SNR with its corner rounded (Crowson et al. 2024, section 4.2)."""

    def __init__(self, gamma: float = 4.0):
        self.gamma = _positive("gamma", gamma)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return self.gamma * snr / (snr + self.gamma)


class P2(X0Weighting):
    """SNR / (k + SNR)^gamma, that is 1 / (k + SNR)^gamma for eps (Choi et al. 2022, eq. 8)."""

    def __init__(self, gamma: float = 1.0, k: float = 1.0):
        self.gamma, self.k = gamma, _positive("k", k)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr / (self.k + snr) ** self.gamma


class Sigmoid(X0Weighting):
    """SNR * sigmoid(bias - log SNR), that is sigmoid(bias - log SNR) for eps (Hoogeboom et al. 2024, SiD2).

    For times drawn evenly in log SNR: the paper also multiplies by -d log SNR / dt, which `times` decides here.
    """

    def __init__(self, bias: float = 2.0):
        self.bias = bias

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr * torch.sigmoid(self.bias - snr.log())


class EDM(X0Weighting):
    """SNR + 1 / sigma_data^2 (Karras et al. 2022, table 1): 1 for EDM's prediction, and for v at sigma_data = 1."""

    def __init__(self, sigma_data: float = 0.5):
        self.sigma_data = _positive("sigma_data", sigma_data)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return snr + 1 / self.sigma_data**2


class Velocity(X0Weighting):
    """min(1 + alpha / sigma, 1 / clip)^2: the squared error of the velocity eps - x_0 on the flow path, from x_0's.

    On that path, alpha = 1 - t and sigma = t, it is 1 / t^2 and, for prediction=flow, 1, down to t = clip: below, an
    error in x_0 would count without bound (Li & He 2025, "JiT", with 0.05). Other paths weigh the same SNR the same.
    """

    def __init__(self, clip: float = 0.05):
        self.clip = _positive("clip", clip)

    def of_x_0(self, snr: Tensor) -> Tensor:
        return (1 + snr.sqrt()).clamp(max=1 / self.clip) ** 2


class VLB(X0Weighting):
    """T times the weight of the variational bound (Ho et al. 2020, eq. 12), for a fixed reverse variance.

    The x_0 error in L_{t-1} weighs (alpha_s beta_t / sigma_t^2)^2 / (2 variance), s = t - 1. So the mean of the loss is
    that part of sum L_{t-1} which depends on the network, in nats per dimension; L_0's decoder is taken for a Gaussian.

    Args:
        schedule: a chain.
        variance: FixedLarge is eq. 12 with sigma_t^2 = beta_t; FixedSmall gives (SNR(s) - SNR(t)) / 2.
    """

    def __init__(self, schedule: Schedule, variance: Variance):
        if not schedule.discrete:
            raise UserError("weighting=vlb needs a chain of whole steps: use a beta schedule, or weighting=min_snr")
        if variance.learned:
            raise UserError("weighting=vlb needs a fixed variance; loss=vlb trains a learned one")
        self.schedule, self.variance = schedule, variance

    def of_x_0(self, snr: Tensor) -> Tensor:
        schedule = self.schedule.to(snr.device)
        t = schedule.time_of(snr.flatten().rsqrt())
        s = t - 1
        log_variance = self.variance.log(schedule, s, t)
        log_variance = torch.where((s == 0).view(-1, 1, 1, 1), first_log_variance(schedule, t), log_variance)
        of_x_0, _ = posterior_coefficients(schedule, s, t)
        return schedule.t_max * of_x_0**2 * torch.exp(-log_variance) / 2


class Uncertainty(nn.Module, Weighting):
    """error * weight / exp(u) + u with a learned u(sigma / alpha) (Karras et al. 2024, EDM2, eq. 14 and 21).

    u settles at the log of the weighted error, so every noise level ends up with the same gradient. It is a linear
    function of Fourier features of c_noise = ln(sigma / alpha) / 4, 0 at the start.

    Args:
        base: the weighting that it divides.
        channels: number of Fourier features.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, base: Weighting, channels: int = 128):
        super().__init__()
        if channels < 1:
            raise UserError(f"weighting.channels={channels} must be at least 1")
        self.base = base
        # A low-discrepancy set in place of random numbers: the same at every start, whatever was drawn before.
        grid = (torch.arange(channels, dtype=torch.float64) + 0.5) / channels
        self.register_buffer("frequencies", (2 * math.pi * torch.special.ndtri(grid)).float())
        self.register_buffer("phases", (2 * math.pi * ((math.sqrt(5) - 1) / 2 * torch.arange(channels) % 1)).float())
        self.linear = nn.Linear(channels, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def __call__(self, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        return self.base(alpha, sigma, det)

    def log_error(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return u, float32, (n,)."""
        c_noise = ((sigma / alpha).clamp(1e-9, 1e9).log() / 4).float().view(-1, 1)
        features = math.sqrt(2) * torch.cos(c_noise * self.frequencies + self.phases)
        # The loss is float32 under autocast, and so is what divides it.
        return (features * self.linear.weight).sum(dim=1) / math.sqrt(features.shape[1])

    def weigh(self, error: Tensor, alpha: Tensor, sigma: Tensor, det: Tensor) -> Tensor:
        u = self.log_error(alpha, sigma)
        return super().weigh(error, alpha, sigma, det) * torch.exp(-u) + u


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise UserError(f"weighting.{name}={value} must be positive")
    return value

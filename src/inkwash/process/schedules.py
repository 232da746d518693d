"""Noise schedules: paths t -> (alpha, sigma) of x_t = alpha * x_0 + sigma * eps, with t = 0 clean data.

`alpha` is the factor of the data, sqrt(alpha_bar_t) in DDPM's words; DDPM's alpha_t = 1 - beta_t has no name here.
"""

import math
import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from inkwash.dtypes import KeepDtype
from inkwash.errors import UserError
from inkwash.process.betas import zero_terminal_snr as rescale_to_zero_terminal_snr


class Schedule(KeepDtype, nn.Module, ABC):
    """Path from data to noise.

    Attributes:
        t_min, t_max: the least and the most noisy time a network is trained on.
        discrete: True if times are the whole numbers t_min..t_max.
    """

    t_min: float
    t_max: float
    discrete: bool = False

    @abstractmethod
    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (alpha, sigma) at times t of shape (n,): float64, (n, 1, 1, 1), ready to multiply images."""

    @abstractmethod
    def time_input(self, t: Tensor) -> Tensor:
        """Return the input of the network's time embedding for t (n,): float32, (n,), about 0..1000."""

    def prior_std(self, t: float) -> float:
        """Return the standard deviation of the noise that replaces x_t when sampling starts at t."""
        return float(self(torch.tensor([t], dtype=torch.float64))[1])

    def input_scale(self, t: Tensor) -> Tensor:
        """Return the factor of x_t before the network, (n, 1, 1, 1); 1 where x_t has unit variance anyway."""
        return torch.ones(len(t), 1, 1, 1, dtype=torch.float64, device=t.device)

    def sigma_over_alpha(self, t: Tensor) -> Tensor:
        """Return sigma / alpha at times t (n,): float64, (n,). It grows with t, perhaps to infinity.

        This is sigma in Karras et al. 2022 (EDM).
        """
        alpha, sigma = self(t)
        return (sigma / alpha).flatten()

    def half_log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha / sigma) at times t (n,): float64, (n,); lambda in Lu et al. 2022 (DPM-Solver)."""
        return -self.sigma_over_alpha(t).log()

    def time_of(self, sigma_over_alpha: Tensor) -> Tensor:
        """Return the times in [t_min, t_max] at which sigma / alpha has these values (n,): float64, (n,); bisection."""
        low = torch.full_like(sigma_over_alpha, self.t_min, dtype=torch.float64)
        high = torch.full_like(low, self.t_max)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.sigma_over_alpha(middle) < sigma_over_alpha
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def time_at(self, u: Tensor) -> Tensor:
        """Return the time, float64, at fraction u in [0, 1] of the training range, 1 excluded on a chain."""
        return self.t_min + u * (self.t_max - self.t_min)


class BetaSchedule(Schedule):
    """Variance preserving path of a Markov chain with variances betas: alpha^2 + sigma^2 = 1, t in {1, ..., T}.

    alpha_t = sqrt(alpha_bar_t), sigma_t = sqrt(1 - alpha_bar_t), alpha_bar_t = prod_{i <= t} (1 - beta_i)
    (Ho et al. 2020, eq. 4); alpha_bar_0 = 1.

    Args:
        betas: float64, (T,), in (0, 1]; beta_T = 1 makes x_T pure noise.
        zero_terminal_snr: rescale them so that it is (betas.py).
        stretch_time: give the network the index t - 1 stretched to 0..1000 if T is another number than 1000; False:
            the index itself, as diffusers does.
    """

    discrete = True
    alpha: Tensor
    sigma: Tensor
    betas: Tensor

    def __init__(self, betas: Tensor, zero_terminal_snr: bool = False, stretch_time: bool = True):
        super().__init__()
        self.stretch_time = stretch_time
        if zero_terminal_snr:
            betas = rescale_to_zero_terminal_snr(betas)
        if betas.dim() != 1 or len(betas) < 1 or not bool(((betas > 0) & (betas <= 1)).all()):
            found = f", not one of {float(betas.min()):.3g} to {float(betas.max()):.3g}" if betas.numel() else ""
            raise UserError(f"schedule.betas must be a list of at least one variance in (0, 1]{found}")
        betas = betas.double()
        # log1p and expm1 keep sigma exact where alpha_bar is next to 1.
        log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])
        # Not persistent: a schedule is configuration, and the checkpoint carries that.
        self.register_buffer("betas", betas, persistent=False)
        self.register_buffer("alpha", torch.exp(log_alpha_bar / 2), persistent=False)
        self.register_buffer("sigma", torch.sqrt(-torch.expm1(log_alpha_bar)), persistent=False)
        self.t_min, self.t_max = 1, len(betas)
        if self.alpha[-1] ** 2 > 0.01:
            warnings.warn(
                f"this schedule keeps alpha_bar_T = {self.alpha[-1] ** 2:.2g} of the signal at T={len(betas)}, so "
                "sampling starts from noise the network never saw; use more steps, or schedule=cosine",
                stacklevel=2,
            )

    def prior_std(self, t: float) -> float:
        """1: x_T ~ N(0, I), as Algorithm 2 says."""
        return 1.0

    def time_of(self, sigma_over_alpha: Tensor) -> Tensor:
        """Return the nearest whole times, measured in log(sigma / alpha)."""
        table, wanted = (self.sigma[1:] / self.alpha[1:]).log(), sigma_over_alpha.to(self.sigma.device)
        index = torch.searchsorted(table, wanted.double().log()).clamp(1, len(table) - 1)
        nearer_below = wanted.log() - table[index - 1] < table[index] - wanted.log()
        return (index + 1 - nearer_below.long()).clamp(min=1).double()

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        index = t.long().view(-1, 1, 1, 1)
        return self.alpha[index], self.sigma[index]

    def time_input(self, t: Tensor) -> Tensor:
        """DDPM's index t - 1, stretched to 0..1000 for T other than 1000, as improved-diffusion does, or itself."""
        return ((t - 1) * (1000 / self.t_max)).float() if self.stretch_time else (t - 1).float()

    def time_at(self, u: Tensor) -> Tensor:
        return 1 + (u * self.t_max).floor()


class FlowSchedule(Schedule):
    """Straight path alpha = 1 - t, sigma = t, t in (0, 1] (Liu et al. 2022, rectified flow; Lipman et al. 2022)."""

    def __init__(self, t_min: float = 1e-3):
        super().__init__()
        if not 0 < t_min < 1:
            raise UserError(f"schedule.t_min={t_min} must lie between 0 and 1")
        self.t_min, self.t_max = t_min, 1.0

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.double().view(-1, 1, 1, 1)
        return 1 - t, t

    def time_input(self, t: Tensor) -> Tensor:
        return (1000 * t).float()


class EDMSchedule(Schedule):
    """Path x_t = x_0 + t * eps: time is the noise level itself (Karras et al. 2022, table 1, "ours").

    Args:
        sigma_data: standard deviation of the data, used by the input scale c_in.
        sigma_min, sigma_max: range of noise levels.
    """

    def __init__(self, sigma_data: float = 0.5, sigma_min: float = 0.002, sigma_max: float = 80.0):
        super().__init__()
        if not (0 < sigma_min < sigma_max and sigma_data > 0):
            raise UserError("schedule: edm needs 0 < sigma_min < sigma_max and sigma_data > 0")
        self.sigma_data, self.t_min, self.t_max = sigma_data, sigma_min, sigma_max

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.double().view(-1, 1, 1, 1)
        return torch.ones_like(t), t

    def input_scale(self, t: Tensor) -> Tensor:
        """c_in = 1 / sqrt(sigma^2 + sigma_data^2)."""
        return (t.double() ** 2 + self.sigma_data**2).rsqrt().view(-1, 1, 1, 1)

    def time_input(self, t: Tensor) -> Tensor:
        """1000 c_noise = 250 ln(sigma)."""
        return (250 * t.double().log()).float()

    def time_at(self, u: Tensor) -> Tensor:
        """Log-uniform."""
        return self.t_min * (self.t_max / self.t_min) ** u


class VPSchedule(Schedule):
    """Variance preserving SDE in continuous time: alpha = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2).

    Source: Song et al. 2021, eq. 32 and 33; DDPM's linear schedule of 1000 steps with t for t / T.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3):
        super().__init__()
        if not (0 < beta_min <= beta_max and 0 < t_min < 1):
            raise UserError("schedule: vp needs 0 < beta_min <= beta_max and 0 < t_min < 1")
        self.beta_min, self.beta_max, self.t_min, self.t_max = beta_min, beta_max, t_min, 1.0

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.double().view(-1, 1, 1, 1)
        log_alpha = -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def prior_std(self, t: float) -> float:
        """1, the variance that the path preserves."""
        return 1.0

    def time_input(self, t: Tensor) -> Tensor:
        return (1000 * t).float()


class CosineSchedule(Schedule):
    """Cosine path in continuous time, shifted for the image size (Hoogeboom et al. 2023, section 3.1).

    log SNR = -2 log tan(pi t / 2), within +-15, plus 2 log(noise_size / image_size): noise is added as if the image
    were noise_size pixels wide. With noise_size_low the shift is interpolated from that, at t = 0, to noise_size.

    Args:
        image_size: width of the images in pixels.
        noise_size: the width for which the cosine path is right, 32 or 64.
        noise_size_low: the width near the data, where detail matters; None for noise_size.
    """

    MAX_LOG_SNR = 15.0

    def __init__(self, image_size: int, noise_size: int, noise_size_low: int | None = None, t_min: float = 1e-3):
        super().__init__()
        if min(image_size, noise_size, noise_size_low or 1) < 1 or not 0 < t_min < 1:
            raise UserError("schedule: cosine_shifted needs sizes of at least 1 and 0 < t_min < 1")
        self.t_min, self.t_max = t_min, 1.0
        self.shift = 2 * math.log(noise_size / image_size)
        self.shift_low = 2 * math.log((noise_size_low or noise_size) / image_size)
        if self.shift - self.shift_low >= 2 * math.pi:  # the least slope of 2 log tan(pi t / 2)
            raise UserError(
                f"schedule: noise_size={noise_size} is so much larger than noise_size_low={noise_size_low} that noise "
                f"would shrink with time: use at most {math.exp(math.pi):.0f} times as much"
            )

    def log_snr(self, t: Tensor) -> Tensor:
        first, last = (math.atan(math.exp(-sign * self.MAX_LOG_SNR / 2)) for sign in (1, -1))
        shift = self.shift_low + (self.shift - self.shift_low) * t
        return -2 * torch.log(torch.tan(first + (last - first) * t)) + shift

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.double().view(-1, 1, 1, 1)
        log_snr = torch.where(t > 0, self.log_snr(t), torch.inf)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def prior_std(self, t: float) -> float:
        """1, the variance that the path preserves."""
        return 1.0

    def time_input(self, t: Tensor) -> Tensor:
        return (1000 * t).float()

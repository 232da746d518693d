"""Noise schedules: paths t -> (alpha, sigma) of x_t = alpha * x_0 + sigma * eps, with t = 0 clean data.

`alpha` is the factor of the data, sqrt(alpha_bar_t) in DDPM's words; DDPM's alpha_t = 1 - beta_t has no name here.
"""

import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from inkwash.errors import UserError


class Schedule(nn.Module, ABC):
    """A path from data to noise.

    Attributes:
        t_min, t_max: the least and the most noisy time a network is trained on.
        discrete: whether times are the whole numbers t_min..t_max.
        prior_std: standard deviation of the noise that sampling starts from.
    """

    t_min: float
    t_max: float
    discrete: bool = False

    @abstractmethod
    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t of shape (n,): float64, (n, 1, 1, 1), ready to multiply images."""

    @abstractmethod
    def time_input(self, t: Tensor) -> Tensor:
        """What the network's time embedding is given for t of shape (n,): float32, (n,), about 0..1000."""

    @property
    def prior_std(self) -> float:
        return float(self(torch.tensor([self.t_max], dtype=torch.float64))[1])

    def time_at(self, u: Tensor) -> Tensor:
        """The time, float64, at fraction u in [0, 1) of the training range."""
        return self.t_min + u * (self.t_max - self.t_min)

    def _apply(self, fn, recurse=True):
        """Follow a module to its device, but never lose precision to `.half()` or a precision plugin."""
        for name, table in self._buffers.items():
            if table is not None:
                device = fn(table).device
                # MPS has no float64.
                self._buffers[name] = table.to(device, torch.float32 if device.type == "mps" else table.dtype)
        return self


class BetaSchedule(Schedule):
    """The variance preserving path of a Markov chain with variances betas: alpha^2 + sigma^2 = 1, t in {1, ..., T}.

    alpha_t = sqrt(alpha_bar_t), sigma_t = sqrt(1 - alpha_bar_t), alpha_bar_t = prod_{i <= t} (1 - beta_i)
    (Ho et al. 2020, eq. 4); alpha_bar_0 = 1.

    Args:
        betas: float64, (T,), in (0, 1]; beta_T = 1 makes x_T pure noise.
    """

    discrete = True
    alpha: Tensor
    sigma: Tensor
    betas: Tensor

    def __init__(self, betas: Tensor):
        super().__init__()
        if betas.dim() != 1 or len(betas) < 1 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise UserError("schedule.betas must be a list of at least one variance in (0, 1]")
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
                "sampling starts from noise the network never saw; use more steps, schedule.betas.scale_with_T=true or "
                "schedule=cosine",
                stacklevel=2,
            )

    @property
    def prior_std(self) -> float:
        """1: x_T ~ N(0, I), as Algorithm 2 says."""
        return 1.0

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        index = t.long().view(-1, 1, 1, 1)
        return self.alpha[index], self.sigma[index]

    def time_input(self, t: Tensor) -> Tensor:
        """DDPM's index t - 1, stretched to 0..1000 for T other than 1000, as improved-diffusion does."""
        return ((t - 1) * (1000 / self.t_max)).float()

    def time_at(self, u: Tensor) -> Tensor:
        return 1 + (u * self.t_max).floor()


class FlowSchedule(Schedule):
    """The straight path alpha = 1 - t, sigma = t, t in (0, 1] (Liu et al. 2022, rectified flow; Lipman et al. 2022)."""

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

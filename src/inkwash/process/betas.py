"""Variances beta_1..beta_T of the forward Markov chain q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I).

Each function returns a float64 tensor of shape (T,) whose entry i is beta_{i+1}.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from inkwash.errors import UserError


def linear(T: int, beta_start: float = 1e-4, beta_end: float = 0.02, scale_with_T: bool = False) -> Tensor:
    """Return evenly spaced betas (Ho et al. 2020, section 4).

    The end points are meant for T = 1000. `scale_with_T` multiplies them by 1000 / T, as Nichol & Dhariwal's code
    does, so that alpha_bar_T stays near 4e-5 for every T; without it a short chain never reaches noise.
    """
    scale = 1000 / _steps(T) if scale_with_T else 1.0
    if not 0 < scale * beta_start <= scale * beta_end < 1:
        raise UserError(
            f"schedule.betas: linear needs 0 < beta_start <= beta_end < 1, not {scale * beta_start:g} and "
            f"{scale * beta_end:g} at T={T}; a short chain wants schedule=cosine"
        )
    return torch.linspace(scale * beta_start, scale * beta_end, _steps(T), dtype=torch.float64)


def quadratic(T: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Return betas whose square roots are evenly spaced ("quad" in DDIM's code, "scaled linear" elsewhere)."""
    if not 0 < beta_start <= beta_end < 1:
        raise UserError("schedule.betas: quadratic needs 0 < beta_start <= beta_end < 1")
    return torch.linspace(beta_start**0.5, beta_end**0.5, _steps(T), dtype=torch.float64) ** 2


def cosine(T: int, s: float = 0.008, beta_max: float = 0.999) -> Tensor:
    """Return betas of alpha_bar(u) ~ cos^2((u + s) / (1 + s) * pi / 2) (Nichol & Dhariwal 2021, eq. 17)."""
    if s < 0:
        raise UserError(f"schedule.betas.s={s} must not be negative")
    return from_alpha_bar(lambda u: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, T, beta_max)


def sigmoid(T: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0, beta_max: float = 0.999) -> Tensor:
    """Return betas of a falling logistic alpha_bar(u) between `start` and `end` (Jabri et al. 2022, algorithm 1).

    It acts on alpha_bar. The schedule of the same name that acts on beta (Xu et al. 2022, GeoDiff) is another one.
    """
    if not (start < end and tau > 0):
        raise UserError("schedule.betas: sigmoid needs start < end and tau > 0")
    low, high = (1 / (1 + math.exp(-edge / tau)) for edge in (start, end))

    def alpha_bar(u: Tensor) -> Tensor:
        return (high - torch.sigmoid((u * (end - start) + start) / tau)) / (high - low)

    return from_alpha_bar(alpha_bar, T, beta_max)


def listed(values: Sequence[float]) -> Tensor:
    """Return the given betas, for a chain that was made elsewhere."""
    return torch.tensor(list(values), dtype=torch.float64)


def from_alpha_bar(alpha_bar: Callable[[Tensor], Tensor], T: int, beta_max: float = 0.999) -> Tensor:
    """Return beta_t = min(1 - alpha_bar(t / T) / alpha_bar((t - 1) / T), beta_max)."""
    if not 0 < beta_max < 1:
        raise UserError(f"schedule.betas.beta_max={beta_max} must lie between 0 and 1")
    curve = alpha_bar(torch.linspace(0, 1, _steps(T) + 1, dtype=torch.float64))
    return (1 - curve[1:] / curve[:-1]).clamp(max=beta_max)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shift and stretch sqrt(alpha_bar) so that it starts where it did and ends at 0 (Lin et al. 2023, Algorithm 1).

    The last step then is pure noise, which eps-prediction cannot be decoded from.
    """
    root = torch.cumprod(1 - betas.double(), 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), root**2])
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def _steps(T: int) -> int:
    if not isinstance(T, int) or T < 1:
        raise UserError(f"schedule.betas.T={T} must be a whole number of steps, at least 1")
    return T

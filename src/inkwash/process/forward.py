"""Forward process q, written with pairs (alpha_s, sigma_s), (alpha_t, sigma_t) for two times s < t of any path."""

import torch
from torch import Tensor

from inkwash.process.schedules import Schedule


def mix(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """Return a * x + b * y for images x, y (n, C, H, W).

    The float64 coefficients (n, 1, 1, 1) are cast last, to the images' type, at least float32.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return a.to(dtype) * x + b.to(dtype) * y


def q_sample(schedule: Schedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return x_t = alpha_t x_0 + sigma_t eps, the closed form (Ho et al. 2020, eq. 4); t (n,), images (n, C, H, W)."""
    alpha, sigma = schedule(t)
    return mix(alpha, x_0, sigma, eps)


def eps_from(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return eps = (x_t - alpha_t x_0) / sigma_t, eq. 4 solved for the noise; t (n,), images (n, C, H, W)."""
    alpha, sigma = schedule(t)
    return mix(1 / sigma, x_t, -alpha / sigma, x_0)


def transition(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale, variance) of q(x_t | x_s) = N(scale * x_s, variance I), each (n, 1, 1, 1).

    For s = t - 1 on a chain they are sqrt(1 - beta_t) and beta_t (Ho et al. 2020, eq. 2).
    """
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    scale = alpha_t / alpha_s
    return scale, sigma_t**2 - scale**2 * sigma_s**2


def q_step(schedule: Schedule, x_s: Tensor, s: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Draw from q(x_t | x_s), s < t, with noise eps: for s = t - 1 a step of the chain (Ho et al. 2020, eq. 2)."""
    scale, variance = transition(schedule, s, t)
    return mix(scale, x_s, variance.sqrt(), eps)


def posterior_variance(schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
    """Return the variance of q(x_s | x_t, x_0), (n, 1, 1, 1): beta tilde_t for s = t - 1 (Ho et al. 2020, eq. 7)."""
    (_, sigma_s), (_, sigma_t) = schedule(s), schedule(t)
    return transition(schedule, s, t)[1] * (sigma_s / sigma_t) ** 2


def posterior_coefficients(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of x_0 and x_t in the mean of q(x_s | x_t, x_0), each (n, 1, 1, 1) (Ho et al. 2020, eq. 7)."""
    (alpha_s, sigma_s), (_, sigma_t) = schedule(s), schedule(t)
    scale, variance = transition(schedule, s, t)
    return alpha_s * variance / sigma_t**2, scale * sigma_s**2 / sigma_t**2


def q_posterior(schedule: Schedule, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (n, C, H, W) and variance (n, 1, 1, 1) of q(x_s | x_t, x_0), s < t (Ho et al. 2020, eq. 6 and 7)."""
    of_x_0, of_x_t = posterior_coefficients(schedule, s, t)
    return mix(of_x_0, x_0, of_x_t, x_t), posterior_variance(schedule, s, t)


def visible(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Scale x_t (n, C, H, W) to the range of data, as if that had variance 1: divided by sqrt(alpha^2 + sigma^2)."""
    return x_t / (alpha**2 + sigma**2).sqrt().to(x_t)

"""The forward process q, written with pairs (alpha_s, sigma_s), (alpha_t, sigma_t) for two times s < t of any path."""

import torch
from torch import Tensor

from inkwash.process.schedules import Schedule


def mix(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """a * x + b * y; coefficients (n, 1, 1, 1) in float64 are cast last, to the images' type, at least float32."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return a.to(dtype) * x + b.to(dtype) * y


def q_sample(schedule: Schedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t = alpha_t x_0 + sigma_t eps, the closed form (Ho et al. 2020, eq. 4); t (n,), images (n, C, H, W)."""
    alpha, sigma = schedule(t)
    return mix(alpha, x_0, sigma, eps)


def transition(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, variance) of q(x_t | x_s) = N(scale * x_s, variance I); for s = t - 1 sqrt(1 - beta_t) and beta_t."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    scale = alpha_t / alpha_s
    return scale, sigma_t**2 - scale**2 * sigma_s**2


def q_step(schedule: Schedule, x_s: Tensor, s: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """A draw from q(x_t | x_s), s < t: one step of the Markov chain when s = t - 1 (Ho et al. 2020, eq. 2)."""
    scale, variance = transition(schedule, s, t)
    return mix(scale, x_s, variance.sqrt(), eps)


def posterior_variance(schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
    """That of q(x_s | x_t, x_0), (n, 1, 1, 1): beta tilde_t for s = t - 1 (Ho et al. 2020, eq. 7)."""
    (_, sigma_s), (_, sigma_t) = schedule(s), schedule(t)
    return transition(schedule, s, t)[1] * (sigma_s / sigma_t) ** 2


def q_posterior(schedule: Schedule, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n, C, H, W) and variance (n, 1, 1, 1) of q(x_s | x_t, x_0), s < t (Ho et al. 2020, eq. 6 and 7)."""
    (alpha_s, sigma_s), (_, sigma_t) = schedule(s), schedule(t)
    scale, variance = transition(schedule, s, t)
    mean = mix(alpha_s * variance / sigma_t**2, x_0, scale * sigma_s**2 / sigma_t**2, x_t)
    return mean, posterior_variance(schedule, s, t)

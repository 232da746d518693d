"""Exact denoisers and exact solutions of the probability flow, for Gaussians and mixtures, on any schedule."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.process.schedules import Schedule


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@dataclass
class Mixture:
    """sum_k weight_k N(mean_k, std_k^2 I) over images (C, H, W); a finite data set where every std is 0.

    With x_t = alpha x_0 + sigma eps it has a known E[x_0 | x_t], and so a known score.
    """

    weights: Tensor  # (K,)
    means: Tensor  # (K, C, H, W)
    stds: Tensor  # (K,)

    def x_0(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x_0 | x_t] (n, C, H, W); alpha and sigma (n, 1, 1, 1)."""
        means, stds = self.means.to(x_t.dtype)[:, None], self.stds.to(x_t.dtype).view(-1, 1, 1, 1, 1)
        alpha, sigma = alpha.to(x_t.dtype), sigma.to(x_t.dtype)
        variance = alpha**2 * stds**2 + sigma**2  # of x_t in component k: (K, n, 1, 1, 1)
        error = x_t - alpha * means
        dim = x_t[0].numel()
        log_p = -(error**2 / variance).flatten(2).sum(2) / 2 - dim / 2 * variance.log().flatten(1)
        share = (self.weights.log().to(x_t.dtype)[:, None] + log_p).softmax(0)
        return (share.view(*share.shape, 1, 1, 1) * (means + alpha * stds**2 / variance * error)).sum(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        return self.means[k] + self.stds[k].view(-1, 1, 1, 1) * z

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d)."""
        means = self.means.flatten(1)
        mean = self.weights @ means
        spread = (self.weights[:, None] * (means - mean)).T @ (means - mean)
        return mean, spread + (self.weights @ self.stds**2) * torch.eye(len(mean), dtype=torch.float64)


class GaussianDenoiser(nn.Module):
    """The exact posterior mean E[x_0 | x_t] for data N(mu, s^2 I), on any path."""

    def __init__(self, schedule: Schedule, mu: float, s: float):
        super().__init__()
        self.schedule, self.mu, self.s = schedule, mu, s

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        alpha, sigma = (c.to(x_t.dtype) for c in self.schedule(t))
        gain = alpha * self.s**2 / (alpha**2 * self.s**2 + sigma**2)
        x_0 = self.mu + gain * (x_t - alpha * self.mu)
        return Estimate(x_0, (x_t - alpha * x_0) / sigma)


class Exact(nn.Module):
    """The best denoiser there is for a mixture."""

    def __init__(self, schedule: Schedule, data: Mixture):
        super().__init__()
        self.schedule, self.data = schedule, data

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        alpha, sigma = self.schedule(t)
        x_0 = self.data.x_0(x_t, alpha, sigma)
        return Estimate(x_0, (x_t - alpha.to(x_t.dtype) * x_0) / sigma.to(x_t.dtype))


def flow(data: Mixture, path: Schedule, x_t: Tensor, t: float, s: float, steps: int = 1000) -> Tensor:
    """x_s on the probability flow from x_t: Runge-Kutta's fourth order in log(sigma / alpha), float64.

    With z = x / alpha and r = sigma / alpha the ODE is dz / d log r = z - E[x_0 | z, r].
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = path(f64(t)), path(f64(s))
    z, log_r = x_t / alpha_t, (sigma_t / alpha_t).log()
    h = ((sigma_s / alpha_s).log() - log_r) / steps
    one = torch.ones_like(log_r)

    def slope(z: Tensor, log_r: Tensor) -> Tensor:
        return z - data.x_0(z, one, log_r.exp())

    for _ in range(steps):
        k_1 = slope(z, log_r)
        k_2 = slope(z + h / 2 * k_1, log_r + h / 2)
        k_3 = slope(z + h / 2 * k_2, log_r + h / 2)
        k_4 = slope(z + h * k_3, log_r + h)
        z, log_r = z + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4), log_r + h
    return alpha_s * z


class Ends(nn.Module):
    """The consistency function of a mixture: where the probability flow from x_t ends."""

    def __init__(self, schedule: Schedule, data: Mixture, steps: int = 100):
        super().__init__()
        self.schedule, self.data, self.steps = schedule, data, steps

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        x = flow(self.data, self.schedule, x_t, float(t[0]), self.schedule.t_min, self.steps)
        (alpha, sigma), (alpha_t, sigma_t) = self.schedule(f64(self.schedule.t_min)), self.schedule(t)
        x_0 = self.data.x_0(x, alpha, sigma)
        return Estimate(x_0, (x_t - alpha_t * x_0) / sigma_t)


class PixelNoise:
    """Standard normal float64 images from one generator: quicker than one for each image."""

    def __init__(self, n: int, seed: int = 0):
        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def __call__(self) -> Tensor:
        return torch.randn(self.n, 1, 1, 1, generator=self.generator, dtype=torch.float64)


class GaussianJump(nn.Module):
    """The pair (x_0, eps) on the line of x_t whose DDIM step to s is the probability flow's, for data N(mu, std^2).

    x_s = alpha_s mu + (S_s / S_t) (x_t - alpha_t mu) with S^2 = alpha^2 std^2 + sigma^2. With s = t it is the posterior
    mean, with s = 0 a consistency function.

    Args:
        s: where it goes; None for t, or for what a caller says.
    """

    two_times = True

    def __init__(self, schedule: Schedule, mu: float, std: float, s: float | None = None):
        super().__init__()
        self.schedule, self.mu, self.std, self.s = schedule, mu, std, s

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, s: Tensor | None = None) -> Estimate:
        s = torch.full_like(t, self.s) if s is None and self.s is not None else s
        instant = GaussianDenoiser(self.schedule, self.mu, self.std)(x_t, t)
        if s is None:
            return instant
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.schedule(s), self.schedule(t)
        growth = ((alpha_s**2 * self.std**2 + sigma_s**2) / (alpha_t**2 * self.std**2 + sigma_t**2)).sqrt()
        x_s = alpha_s * self.mu + growth * (x_t - alpha_t * self.mu)
        det = alpha_t * sigma_s - alpha_s * sigma_t
        there = (s == t).view(-1, 1, 1, 1)
        pair = ((sigma_s * x_t - sigma_t * x_s) / det, (alpha_t * x_s - alpha_s * x_t) / det)
        return Estimate(*(torch.where(there, *both) for both in zip(instant, pair, strict=True)))

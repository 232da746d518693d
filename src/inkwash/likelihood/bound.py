"""Variational bound of a chain: -log p(x_0) <= L_T + sum over t > 1 of L_{t-1} + L_0 (Ho et al. 2020, eq. 5).

All in bits per dimension, for images of 256 levels k as k / 127.5 - 1. Chains only: L_{t-1} is the step's own, so a
schedule without steps has none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.process.forward import eps_from, mix, posterior_coefficients, posterior_variance, q_sample
from inkwash.process.schedules import Schedule
from inkwash.process.variances import Variance, first_log_variance

LEVEL = 1 / 127.5


def bits(nats: Tensor) -> Tensor:
    """Return the mean over an image's values in bits, (n,), float64, from nats (n, C, H, W)."""
    return nats.flatten(1).double().mean(dim=1) / math.log(2)


def normal_kl(difference: Tensor, log_variance: Tensor, model_log_variance: Tensor) -> Tensor:
    """Return the KL of N(m, exp(log_variance)) from N(m + difference, exp(model_log_variance)), by pixel, in nats."""
    log_quotient = model_log_variance - log_variance
    return (log_quotient + torch.expm1(-log_quotient) + difference**2 * torch.exp(-model_log_variance)) / 2


class DiscretizedGaussian:
    """Decoder with p(k) the mass of N(mean, std^2) between k - 1/2 and k + 1/2, to infinity at the ends (eq. 13)."""

    def __call__(self, x_0: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        """Return log p(x_0), of the shape of x_0, float64."""
        x_0, mean, std = x_0.double(), mean.double(), log_std.double().exp()
        # By symmetry take the side on which both ends lie left of the mean or near it: no digits cancel in that tail.
        flip = torch.where(x_0 > mean, -1.0, 1.0)
        ends = [(flip * (x_0 - mean) + half) / std for half in (LEVEL / 2, -LEVEL / 2)]
        first, last = x_0 < -0.999, x_0 > 0.999
        upper, lower = ends
        upper = torch.where(torch.where(flip > 0, last, first), math.inf, upper)
        lower = torch.where(torch.where(flip > 0, first, last), -math.inf, lower)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        return log_upper + torch.log(-torch.expm1(log_lower - log_upper))


class TanhDiscretizedGaussian:
    """DiscretizedGaussian with a tanh for the normal distribution function, and no probability below 1e-12.

    As Ho et al.'s and improved-diffusion's code has it, for numbers to compare with theirs.
    """

    def __call__(self, x_0: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        def cdf(x: Tensor) -> Tensor:
            return (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2

        centred, scale = x_0 - mean, torch.exp(-log_std)
        upper, lower = cdf((centred + LEVEL / 2) * scale), cdf((centred - LEVEL / 2) * scale)
        upper = torch.where(x_0 > 0.999, 1.0, upper)
        lower = torch.where(x_0 < -0.999, 0.0, lower)
        return (upper - lower).clamp(min=1e-12).log()


Decoder = Callable[[Tensor, Tensor, Tensor], Tensor]


class VariationalBound:
    """Terms of the bound for a reverse variance and a decoder.

    Args:
        variance: of p(x_{t-1} | x_t).
        decoder: log p(x_0 | x_1) from (x_0, mean, log standard deviation).
    """

    def __init__(self, variance: Variance, decoder: Decoder | None = None):
        self.variance, self.decoder = variance, decoder or DiscretizedGaussian()

    def check(self, schedule: Schedule) -> None:
        """Raise UserError unless the path is a chain."""
        if not schedule.discrete:
            raise UserError(
                "the variational bound needs a chain of whole steps, which schedule="
                f"{type(schedule).__name__} is not: use a beta schedule such as schedule=cosine, or the likelihood of "
                "the probability flow"
            )

    def term(self, schedule: Schedule, x_0: Tensor, t: Tensor, estimate: Estimate) -> Tensor:
        """Return L_{t-1}, or L_0 where t = 1, of images x_0 given the estimate at x_t: bits/dim, (n,), float64."""
        s = t - 1
        # At s = 0 the posterior is a point and the decoder takes its place, so any finite number does there.
        first = (s == 0).view(-1, 1, 1, 1)
        log_posterior = torch.where(first, 0.0, posterior_variance(schedule, s, t).log())
        fixed = self.variance.log(schedule, s, t, estimate.v)
        start = fixed if self.variance.learned else first_log_variance(schedule, t)
        log_variance = torch.where(first, start, fixed)
        of_x_0, _ = posterior_coefficients(schedule, s, t)
        difference = mix(of_x_0, x_0, -of_x_0, estimate.x_0)
        kl = normal_kl(difference.double(), log_posterior, log_variance)
        nll = -self.decoder(x_0, estimate.x_0, torch.where(first, log_variance / 2, 0.0).expand_as(kl).to(x_0.dtype))
        return bits(torch.where(first, nll.double(), kl))

    def prior(self, schedule: Schedule, x_0: Tensor) -> Tensor:
        """Return L_T, the KL of q(x_T | x_0) from N(0, I): bits per dimension, (n,), float64."""
        alpha, sigma = schedule(torch.full((len(x_0),), float(schedule.t_max), dtype=torch.float64, device=x_0.device))
        mean = alpha * x_0.double()
        return bits(normal_kl(mean, 2 * sigma.log(), torch.zeros_like(sigma)))


@dataclass
class Bound:
    """Variational bound of n images, float64.

    Attributes:
        terms: (T, n) in bits per dimension, terms[t - 1] = L_{t-1}; NaN for times that were left out.
        prior: (n,), L_T.
        total: (n,), their sum, an unbiased estimate of it when times were left out.
        x_0_mse, eps_mse: (T, n), the squared error of the estimates at each t.
    """

    terms: Tensor
    prior: Tensor
    total: Tensor
    x_0_mse: Tensor
    eps_mse: Tensor


@torch.no_grad()
def variational_bound(
    denoiser: nn.Module,
    bound: VariationalBound,
    x_0: Tensor,
    y: Tensor | None,
    noise: Callable[[], Tensor],
    clip: float | None = 1.0,
    times: tuple[Tensor, Tensor] | None = None,
) -> Bound:
    """Return the bound of images x_0 (n, C, H, W) with labels y (n,).

    Args:
        noise: returns the next standard normal images: one for each time, noisiest first, as in improved-diffusion.
        clip: bound of the x_0 estimates, as in sampling; None for no clipping.
        times: those of 2..T to evaluate, rising, (n, k), or (k,) the same for all images, and how many each stands for,
            (k,), see `subset`; None for all. L_0 always is evaluated.
    """
    schedule: Schedule = denoiser.schedule  # pyright: ignore[reportAssignmentType]
    bound.check(schedule)
    n, T = len(x_0), int(schedule.t_max)
    chosen, count = (torch.arange(2, T + 1), torch.ones(T - 1)) if times is None else times
    chosen = chosen.expand(n, -1).to(x_0.device)
    values = torch.full((3, T, n), math.nan, dtype=torch.float64, device=x_0.device)
    for steps in (*chosen.T.flip(0), torch.ones(n, dtype=torch.long, device=x_0.device)):
        t, at, eps = steps.double(), (steps - 1, torch.arange(n, device=x_0.device)), noise()
        x_t = q_sample(schedule, x_0, t, eps)
        estimate = denoiser(x_t, t, y)
        if clip is not None:
            clipped = estimate.x_0.clamp(-clip, clip)
            estimate = Estimate(clipped, eps_from(schedule, clipped, x_t, t), estimate.v)
        values[0][at] = bound.term(schedule, x_0, t, estimate)
        values[1][at] = (estimate.x_0 - x_0).double().square().flatten(1).mean(dim=1)
        values[2][at] = (estimate.eps - eps).double().square().flatten(1).mean(dim=1)
    prior = bound.prior(schedule, x_0)
    middle = (values[0].gather(0, chosen.T - 1) * count.to(prior).view(-1, 1)).sum(dim=0)
    return Bound(values[0], prior, values[0, 0] + middle + prior, values[1], values[2])


def subset(T: int, k: int, u: Tensor) -> tuple[Tensor, Tensor]:
    """Choose k of the times 2..T, rising, and say how many each stands for: their weighted sum is unbiased.

    One at random out of each of k slices, whose lengths grow with t, because the terms fall about like 1 / t.

    Args:
        u: uniform in [0, 1), (..., k).

    Returns:
        The times, of the shape of u, and how many each stands for, (k,); where k >= T - 1 all T - 1 of them.
    """
    k = min(k, T - 1)
    edges = [2]
    for i in range(1, k + 1):
        even = 2 * ((T + 1) / 2) ** (i / k)
        edges.append(max(round(even), edges[-1] + 1))
    first = torch.tensor(edges)
    length = first.diff()
    return first[:-1] + (u[..., :k] * length).floor().long(), length


def uniforms(noise: Callable[[], Tensor], k: int) -> Tensor:
    """Return U[0, 1), float64, (n, k), made of as many normal images of `noise` as have k pixels: each image's own."""
    # On the CPU, so that no device rounds a time to its neighbour.
    images = [noise().cpu()]
    images += [noise().cpu() for _ in range(1, math.ceil(k / images[0][0].numel()))]
    return torch.special.ndtr(torch.cat([x.flatten(1) for x in images], dim=1)[:, :k].double())


class BoundBits:
    """Likelihood in bits/dim by the variational bound.

    Args:
        variance: of the reverse step; LearnedRange for networks that learn it.
        times: how many of the terms L_1 .. L_{T-1} to evaluate, each image at times of its own (see `subset`), so that
            the standard error over images knows of the choice; null for all, as papers do.
        clip: bound of the x_0 estimates, null for no clipping.
        decoder: DiscretizedGaussian, or TanhDiscretizedGaussian for numbers to compare with improved-diffusion's.
    """

    key = "bits_per_dim"

    def __init__(
        self, variance: Variance, times: int | None = None, clip: float | None = 1.0, decoder: Decoder | None = None
    ):
        if times is not None and times < 1:
            raise UserError(f"likelihood.times={times} must be at least 1, or null for all")
        self.bound, self.times, self.clip = VariationalBound(variance, decoder), times, clip

    def check(self, schedule: Schedule, learn_variance: bool = False) -> None:
        """Raise UserError unless the path is a chain and the network has the variance that this bound needs."""
        self.bound.check(schedule)
        if self.bound.variance.learned and not learn_variance:
            raise UserError(
                "likelihood.variance=LearnedRange needs a run with model.learn_variance=true: for this one pass "
                "likelihood.variance._target_=inkwash.process.variances.FixedLarge, or FixedSmall"
            )

    def __call__(self, denoiser: nn.Module, x_0: Tensor, y: Tensor | None, noise: Callable[[], Tensor]) -> Tensor:
        """Return bits/dim of images x_0 (n, C, H, W) with labels y (n,): (n,), float64; `noise` is each image's own."""
        times = None
        if self.times is not None:
            times = subset(int(denoiser.schedule.t_max), self.times, uniforms(noise, self.times))  # pyright: ignore
        return variational_bound(denoiser, self.bound, x_0, y, noise, self.clip, times).total

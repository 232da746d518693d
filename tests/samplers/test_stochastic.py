"""Samplers that draw: exact marginals where theory promises them, and mean and covariance of a mixture."""

import math
from itertools import pairwise

import pytest
import torch

from inkwash.denoiser import Estimate
from inkwash.metrics.frechet import frechet_distance
from inkwash.process.betas import linear
from inkwash.process.forward import posterior_variance, transition
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Trailing
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import Sampling
from support.analytic import Exact, Mixture, f64
from support.samplers import Between, sampler_of
from support.selection import mostly_slow

N = 10_000
CHAIN = BetaSchedule(linear(20, beta_end=0.6))


class ExactShare(Exact):
    """Of N(mu, s^2), with the share that makes the learned variance that of p(x_s | x_t).

    For variances v_s and v_t of x_s and x_t, and beta that of q(x_t | x_s), it is beta v_s / v_t.
    """

    def at(self, x_t, t, s):
        estimate, std = self(x_t, t), self.data.stds
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.schedule(s), self.schedule(t)
        large, small = transition(self.schedule, s, t)[1], posterior_variance(self.schedule, s, t)
        true = large * (alpha_s**2 * std**2 + sigma_s**2) / (alpha_t**2 * std**2 + sigma_t**2)
        share = (true.log() - small.log()) / (large.log() - small.log())
        return Estimate(estimate.x_0, estimate.eps, share.expand(x_t.shape))


@pytest.mark.parametrize(("variance", "mu", "std"), [
    (FixedLarge(), 0.0, 1.0),
    (FixedSmall(), 0.7, 0.0),
    (LearnedRange(), 0.3, 0.5),
    (LearnedRange(), -0.8, 0.05),
    (LearnedRange(), 0.2, 2.5),
])  # fmt: skip
@pytest.mark.parametrize(("path", "spacing"), [
    (CHAIN, Trailing(None)), (CHAIN, Trailing(7)), (VPSchedule(), Trailing(15)), (FlowSchedule(), Trailing(15)),
    (EDMSchedule(), Karras(15)),
], ids=["chain", "respaced", "vp", "flow", "edm"])  # fmt: skip
def test_the_right_variance_draws_exact_marginals(path, spacing, variance, mu, std, pixel_noise):
    """At every time but the last: Ho et al. 2020, section 3.2, for the fixed ones.

    That for x_0 ~ N(0, I), beta tilde_t for a point, and the right share between beta_t and it for any Gaussian.
    """
    data, times, noise = Mixture(f64(1.0), f64(mu).view(1, 1, 1, 1), f64(std)), spacing(path), pixel_noise(N)
    denoiser, sampler = ExactShare(path, data), Ancestral(spacing, variance, clip=None)

    def moments(t):
        alpha, sigma = (c.item() for c in path(f64(t)))
        return alpha * mu, alpha**2 * std**2 + sigma**2

    mean, true = moments(times[0].item())
    x = mean + true**0.5 * noise()
    for t, s in pairwise(times[:-1]):
        run = Sampling(path, times, lambda x, t, s=s: denoiser.at(x, t, s.expand(N)), noise)
        x = sampler.step(x, t.expand(N), s.expand(N), run)
        mean, true = moments(s.item())
        assert x.mean().item() == pytest.approx(mean, abs=5 * (true / N) ** 0.5), s
        assert x.var().item() == pytest.approx(true, rel=5 * (2 / N) ** 0.5), s


PIXELS = Mixture(f64(0.3, 0.5, 0.2), f64(-0.6, 0.5, 0.2, -0.3, 0.7, 0.6).view(3, 1, 1, 2), f64(0.2, 0.15, 0.25))
METHODS = {
    "ancestral large": ("ancestral", {"variance": FixedLarge()}, 10, 300),
    "ancestral small": ("ancestral", {"variance": FixedSmall()}, 10, 300),
    "dpmpp_2m_sde": ("dpmpp_2m_sde", {}, 10, 80),
    "heun with churn": ("heun", {"S_churn": 20.0}, 5, 50),
}


@pytest.mark.parametrize("path", mostly_slow({"flow": FlowSchedule(), "linear": BetaSchedule(linear(1000))}, "flow"))
@pytest.mark.parametrize(("name", "arguments", "few", "many"), METHODS.values(), ids=METHODS)
def test_mean_and_covariance_of_a_mixture(name, arguments, few, many, path):
    """With many steps all five numbers are within 5 standard errors; with few the Frechet distance is larger."""
    n, (mean, covariance) = 5000, PIXELS.moments()
    distances = []
    for steps in (few, many):
        draws = torch.Generator().manual_seed(0)
        sampler = sampler_of(name, Trailing(steps), clip=None, **arguments)
        found = sampler(Exact(path, PIXELS), lambda d=draws: torch.randn(n, 1, 1, 2, generator=d, dtype=torch.float64))
        x = found.flatten(1)
        distances.append(frechet_distance(x.mean(0), x.T.cov(), mean, covariance))
    assert ((x.mean(0) - mean).abs() < 5 * (covariance.diag() / n).sqrt()).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None]
    assert ((products.mean(0) - covariance).abs() < 5 * products.std(0) / n**0.5).all()
    assert distances[1] < distances[0] / 2, distances


@pytest.mark.parametrize("path", [FlowSchedule(), VPSchedule(), CHAIN], ids=["flow", "vp", "chain"])
def test_ddim_with_eta_1_is_ancestral_with_small_variance(path):
    noises, found = torch.randn(20, 5, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64), []
    for name, arguments in (("ddim", {"eta": 1.0}), ("ancestral", {"variance": FixedSmall()})):
        feed = iter(noises)
        found.append(sampler_of(name, Trailing(8), **arguments)(Exact(path, PIXELS), lambda f=feed: next(f)))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


CENTRED = Mixture(f64(1.0), f64(0.0).view(1, 1, 1, 1), f64(0.5))
WEAK_ORDERS = {
    "ancestral large": ("ancestral", {"variance": FixedLarge()}, 1),
    "ancestral small": ("ancestral", {"variance": FixedSmall()}, 1),
    "dpmpp_2m_sde": ("dpmpp_2m_sde", {}, 2),
    "heun with churn": ("heun", {"S_churn": 4.0}, 2),
}


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("path", "high", "low"), [(VPSchedule(), 0.8, 0.2), (FlowSchedule(), 0.9, 0.1)])
@pytest.mark.parametrize(("name", "arguments", "order"), WEAK_ORDERS.values(), ids=WEAK_ORDERS)
def test_order_of_the_variance(name, arguments, order, path, high, low):
    """Fitted without drawing: for N(0, s^2) x at the end is linear in x at the start and in every noise.

    Image i of a batch starts with a 1 where the i-th of these is and 0 in all others, so the sum of the squares of
    what they become is the variance.
    """
    errors = []
    for steps in (40, 80):
        impulses = torch.eye(steps + 1, dtype=torch.float64).view(-1, steps + 1, 1, 1, 1)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = path(f64(high)), path(f64(low))
        impulses[0] *= (alpha_t**2 * 0.25 + sigma_t**2).sqrt() / path.prior_std(high)
        feed, sampler = iter(impulses), sampler_of(name, Between(high, low, steps), clip=None, **arguments)
        x = sampler(Exact(path, CENTRED), lambda f=feed: next(f))
        errors.append(abs(x.square().sum() / (alpha_s**2 * 0.25 + sigma_s**2) - 1).item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2), errors

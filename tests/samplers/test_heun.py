"""Heun's method with and without churn: EDM's Algorithm 2 step for step, and what becomes of it on other paths."""

import math

import pytest
import torch
from torch import nn

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Trailing
from inkwash.samplers.base import Sampling
from inkwash.samplers.heun import Heun
from support.analytic import Exact, Mixture, f64

NOISE = torch.randn(40, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def D(x, sigma):
    """A nonlinear denoiser in EDM's terms."""
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * x / (1 + sigma) + sigma.log())


class OnPath(nn.Module):
    """The same denoiser on any path: x_0 = D(x_t / alpha, sigma / alpha)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t, y=None):
        alpha, sigma = self.schedule(t)
        x_0 = D(x_t / alpha, sigma / alpha)
        return Estimate(x_0, (x_t - alpha * x_0) / sigma)


def algorithm_2(levels, S_churn=0.0, S_tmin=0.0, S_tmax=math.inf, S_noise=1.0, raised=lambda sigma: sigma):
    """Karras et al. 2022, Algorithm 2, in plain sigma: `levels` are t_0 > ... > t_N = 0; `raised` rounds t_hat."""
    N = len(levels) - 1
    x = levels[0] * NOISE[0]
    for i in range(N):
        t, t_next, eps = levels[i], levels[i + 1], NOISE[i + 1] * S_noise
        gamma = min(S_churn / N, math.sqrt(2) - 1) if S_tmin <= t <= S_tmax else 0.0
        t_hat = raised(t + gamma * t)
        x_hat = x + (t_hat**2 - t**2).sqrt() * eps
        d = (x_hat - D(x_hat, t_hat)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if t_next != 0:
            d_next = (x - D(x, t_next)) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_next) / 2
    return x


def run(sampler, path, start=NOISE[0]):
    feed = iter([start, *NOISE[1:]])
    return sampler(OnPath(path), lambda: next(feed))


CHURN = [
    {},
    {"S_churn": 40.0, "S_tmin": 0.05, "S_tmax": 50.0, "S_noise": 1.003},
    {"S_churn": 4.0, "S_noise": 1.007},
    {"S_churn": 100.0},
]


@pytest.mark.parametrize("churn", CHURN, ids=str)
@pytest.mark.parametrize("steps", [18, 3])
def test_algorithm_2_on_edms_path(steps, churn):
    """To 1e-10 over all steps; the path goes on beyond the first level, so that it too can be raised."""
    path, spacing = EDMSchedule(sigma_max=200.0), Karras(steps)
    levels = 80 ** (1 / 7) + torch.arange(steps, dtype=torch.float64) / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))
    theirs = algorithm_2(torch.cat([levels**7, f64(0)]), **churn)
    torch.testing.assert_close(run(Heun(spacing, **churn, clip=None), path), theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("churn", CHURN, ids=str)
@pytest.mark.parametrize("path", [VPSchedule(), FlowSchedule()], ids=["vp", "flow"])
def test_algorithm_2_on_other_paths_acts_in_sigma_over_alpha(path, churn):
    sampler = Heun(Karras(12, sigma_max=40.0), **churn, clip=None)
    times = sampler.spacing(path)
    levels = torch.cat([path.sigma_over_alpha(times[:-1]), f64(0)])
    start = NOISE[0] * path(times[:1])[1] / path.prior_std(float(times[0]))
    torch.testing.assert_close(run(sampler, path, start), algorithm_2(levels, **churn), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("churn", CHURN, ids=str)
def test_algorithm_2_on_a_chain_takes_whole_times(churn):
    """The raised level is that of the nearest whole time: time_of's, whose ratio the noise added matches."""
    path = BetaSchedule(linear(1000))
    sampler = Heun(Karras(12), **churn, clip=None)
    times = sampler.spacing(path)
    levels = torch.cat([path.sigma_over_alpha(times[:-1]), f64(0)])
    start = NOISE[0] * path(times[:1])[1]

    def raised(level):
        return path.sigma_over_alpha(path.time_of(level.view(1)))[0]

    theirs = algorithm_2(levels, **churn, raised=raised)
    torch.testing.assert_close(run(sampler, path, start), theirs, rtol=1e-10, atol=1e-10)


def churned(path, t, x_t, **churn):
    """(x_hat, t_hat) of one step, whose N is 5."""
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sampler = Heun(Trailing(5), **churn, clip=None)
    return sampler._churned(x_t, f64(t).expand(len(x_t)), Sampling(path, torch.arange(6).flip(0), None, lambda: noise))


@pytest.mark.parametrize(("path", "t"), [(VPSchedule(), 0.4), (FlowSchedule(), 0.6), (BetaSchedule(linear(1000)), 300)])
def test_churn_keeps_the_marginal(path, t):
    """x_hat at t_hat has the mixture's mean and variance there, within 5 standard errors."""
    data, n = Mixture(f64(0.3, 0.7), f64(-0.5, 0.6).view(2, 1, 1, 1), f64(0.1, 0.2)), 50_000
    draws = torch.Generator().manual_seed(0)
    alpha, sigma = path(f64(t))
    x_t = alpha * data.sample(n, draws) + sigma * torch.randn(n, 1, 1, 1, generator=draws, dtype=torch.float64)
    x_hat, t_hat = churned(path, t, x_t, S_churn=1.0)
    assert path.sigma_over_alpha(t_hat[:1]) > 1.15 * path.sigma_over_alpha(f64(t))
    (alpha, sigma), (mean, cov) = path(t_hat[:1]), data.moments()
    true = (alpha**2 * cov + sigma**2).item()
    assert x_hat.mean().item() == pytest.approx((alpha * mean).item(), abs=5 * (true / n) ** 0.5)
    assert x_hat.var().item() == pytest.approx(true, rel=5 * (2 / n) ** 0.5)


@pytest.mark.parametrize(("path", "t", "churn"), [
    (EDMSchedule(), 80.0, {"S_churn": 40}),                                # the path's end
    (FlowSchedule(), 1.0, {"S_churn": 40}),                                # sigma / alpha is infinite
    (EDMSchedule(), 3.0, {"S_churn": 40, "S_tmax": 2.0}),
    (EDMSchedule(), 3.0, {"S_churn": 40, "S_tmin": 4.0}),
    (BetaSchedule(linear(1000)), 300, {"S_churn": 1e-3}),                  # no whole time is as near as t itself
])  # fmt: skip
def test_where_nothing_is_added(path, t, churn):
    x_t = NOISE[0]
    x_hat, t_hat = churned(path, t, x_t, **churn)
    assert torch.equal(x_hat, x_t)
    assert t_hat.tolist() == [t] * len(x_t)


def test_a_first_step_that_is_not_its_own_is_refused():
    """A cosine chain starts at sigma / alpha = 20,000; with Karras' spacing Heun begins at 80."""
    path, x = BetaSchedule(cosine(1000)), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    denoiser = Exact(path, Mixture(f64(1), f64(0.3).view(1, 1, 1, 1), f64(0.5)))
    with pytest.raises(UserError, match="use spacing=karras"):
        Heun(Trailing(25), clip=None)(denoiser, lambda: x)
    assert Heun(Karras(25), clip=None)(denoiser, lambda: x).item() == pytest.approx(0.3 + 0.5, abs=0.02)


@pytest.mark.parametrize(("churn", "message"), [
    ({"S_churn": -1.0}, "sampler.S_churn=-1.0"),
    ({"S_noise": -1.0}, "sampler.S_noise=-1.0"),
    ({"S_tmin": -1.0}, "sampler.S_tmin=-1.0"),
    ({"S_tmin": 2.0, "S_tmax": 1.0}, "sampler.S_tmax=1.0"),
])  # fmt: skip
def test_bad_churn_is_refused(churn, message):
    with pytest.raises(UserError, match=message):
        Heun(Karras(5), **churn)

"""The Markov chain, its closed form and its posterior agree with each other."""

import pytest
import torch

from inkwash.process.betas import linear
from inkwash.process.forward import mix, q_posterior, q_sample, q_step, transition
from inkwash.process.schedules import BetaSchedule
from support.schedules import PATHS


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_one_step_has_variance_beta():
    schedule = BetaSchedule(linear(1000))
    t = torch.arange(1, 1001)
    scale, variance = transition(schedule, t - 1, t)
    torch.testing.assert_close(variance.flatten(), schedule.betas, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(scale.flatten(), (1 - schedule.betas).sqrt())


def test_closed_form_has_the_chains_distribution():
    """200,000 walks of 40 steps against one jump: mean and variance, 5 standard errors."""
    n, T = 200_000, 40
    schedule = BetaSchedule(linear(T, beta_end=0.3))
    gen = torch.Generator().manual_seed(1)
    x_0 = torch.full((n, 1, 1, 1), 0.7, dtype=torch.float64)
    x = x_0
    for t in range(1, T + 1):
        x = q_step(schedule, x, f64(t - 1), f64(t), torch.randn(x.shape, generator=gen, dtype=torch.float64))
    alpha, sigma = (c.item() for c in schedule(f64(T)))
    jump = q_sample(schedule, x_0, f64(T), torch.randn(x.shape, generator=gen, dtype=torch.float64))
    for draw in (x, jump):
        assert draw.mean().item() == pytest.approx(alpha * 0.7, abs=5 * sigma / n**0.5)
        assert draw.var().item() == pytest.approx(sigma**2, rel=5 * (2 / n) ** 0.5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_steps_compose(path):
    """Going r -> s -> t is going r -> t: scales multiply, variances add up scaled."""
    r, s, t = (path.time_at(f64(u)) for u in (0.1, 0.4, 0.9))
    (scale_rs, var_rs), (scale_st, var_st) = transition(path, r, s), transition(path, s, t)
    scale, variance = transition(path, r, t)
    torch.testing.assert_close(scale_rs * scale_st, scale)
    torch.testing.assert_close(scale_st**2 * var_rs + var_st, variance)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_posterior_is_bayes_rule(path):
    """q(x_s | x_t, x_0) from the product of the two Gaussians q(x_t | x_s) q(x_s | x_0), by precision weights."""
    s, t = path.time_at(f64(0.3)), path.time_at(f64(0.8))
    x_0, x_t = (torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (0.4, -1.1))
    (alpha_s, sigma_s), (scale, variance) = path(s), transition(path, s, t)
    precision = 1 / sigma_s**2 + scale**2 / variance
    mean, var = q_posterior(path, x_0, x_t, s, t)
    torch.testing.assert_close(var, 1 / precision)
    torch.testing.assert_close(mean, (alpha_s * x_0 / sigma_s**2 + scale * x_t / variance) / precision)


def test_posterior_at_zero_is_x_0():
    schedule = BetaSchedule(linear(1000))
    x_0, x_t = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64)
    mean, var = q_posterior(schedule, x_0, x_t, f64(0), f64(1))
    torch.testing.assert_close(mean, x_0)
    assert var.item() == 0


def test_mix_casts_coefficients_last():
    a, x = torch.full((1, 1, 1, 1), 1 / 3, dtype=torch.float64), torch.ones(1, 1, 1, 1)
    assert mix(a, x, a, x).dtype == torch.float32
    assert mix(a, x.bfloat16(), a, x.bfloat16()).dtype == torch.float32
    assert mix(a, x.double(), a, x).item() == pytest.approx(2 / 3, abs=1e-15)

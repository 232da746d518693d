"""Beta schedules against frozen numbers of improved-diffusion and closed forms."""

import json
import math
from pathlib import Path

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process import betas
from inkwash.process.forward import transition
from inkwash.process.schedules import BetaSchedule

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "improved_diffusion_tables.json").read_text())
# improved-diffusion scales the linear schedule's end points with T, which is our flag.
MAKERS = {"linear": lambda T: betas.linear(T, scale_with_T=True), "cosine": betas.cosine}


@pytest.mark.parametrize("case", GOLDEN)
def test_tables_equal_improved_diffusion(case):
    name, T = case.split("-")
    golden = {key: torch.tensor(value, dtype=torch.float64) for key, value in GOLDEN[case].items()}
    schedule = BetaSchedule(MAKERS[name](int(T)))
    t = golden["t"]
    alpha, sigma = (x.flatten() for x in schedule(t))
    close = {"rtol": 1e-12, "atol": 0}
    torch.testing.assert_close(schedule.betas[t.long() - 1], golden["beta"], **close)
    torch.testing.assert_close(alpha, golden["sqrt_alpha_bar"], **close)
    torch.testing.assert_close(alpha**2, golden["alpha_bar"], **close)
    # Their 1 - alpha_bar loses digits near t = 1; ours comes from expm1.
    torch.testing.assert_close(sigma, golden["sqrt_one_minus_alpha_bar"], rtol=2e-12, atol=0)


@pytest.mark.parametrize("case", GOLDEN)
def test_posterior_equals_improved_diffusion(case):
    """q(x_{t-1} | x_t, x_0) written with two pairs (alpha, sigma) is their three tables."""
    name, T = case.split("-")
    golden = {key: torch.tensor(value, dtype=torch.float64) for key, value in GOLDEN[case].items()}
    schedule = BetaSchedule(MAKERS[name](int(T)))
    t = golden["t"]
    (alpha_s, sigma_s), (_, sigma_t) = schedule(t - 1), schedule(t)
    scale, variance = transition(schedule, t - 1, t)
    close = {"rtol": 2e-11, "atol": 1e-15}
    torch.testing.assert_close((variance * (sigma_s / sigma_t) ** 2).flatten(), golden["posterior_variance"], **close)
    torch.testing.assert_close((alpha_s * variance / sigma_t**2).flatten(), golden["coef_x_0"], **close)
    torch.testing.assert_close((scale * sigma_s**2 / sigma_t**2).flatten(), golden["coef_x_t"], **close)


def test_linear_is_ho_et_al():
    beta = betas.linear(1000)
    assert beta.dtype == torch.float64
    assert (beta[0].item(), beta[-1].item()) == (1e-4, 0.02)
    assert torch.cumprod(1 - beta, 0)[-1].item() == pytest.approx(4.0358e-5, rel=1e-4)


def test_linear_scaled_keeps_alpha_bar_where_unscaled_loses_it():
    scaled, plain = (torch.cumprod(1 - betas.linear(4000, scale_with_T=flag), 0)[-1].item() for flag in (True, False))
    assert scaled == pytest.approx(4.2e-5, rel=0.02)
    assert plain == pytest.approx(2.7e-18, rel=0.05)


def test_cosine_figures():
    beta = betas.cosine(1000)
    assert beta[0].item() == pytest.approx(4.128e-5, rel=1e-3)
    assert (beta == 0.999).sum() == 1
    assert torch.cumprod(1 - beta, 0)[-1].item() == pytest.approx(2.43e-9, rel=2e-3)
    assert torch.cumprod(1 - betas.cosine(4000), 0)[-1].item() == pytest.approx(1.52e-10, rel=5e-3)


def test_sigmoid_follows_the_logistic_curve():
    alpha_bar = torch.cumprod(1 - betas.sigmoid(1000), 0)
    assert alpha_bar[499].item() == pytest.approx(0.5, abs=1e-12)  # the curve is point symmetric
    u = 0.25
    low, high, here = (1 / (1 + math.exp(-x)) for x in (-3, 3, -3 + 6 * u))
    assert alpha_bar[249].item() == pytest.approx((high - here) / (high - low), rel=1e-12)
    assert alpha_bar[-1].item() == pytest.approx(3.0e-7, rel=0.02)


def test_the_temperature_of_sigmoid_steepens_the_curve():
    start, end, tau, u = -2.0, 4.0, 0.5, 0.4
    low, at_u, high = (1 / (1 + math.exp(-x / tau)) for x in (start, u * (end - start) + start, end))
    alpha_bar = torch.cumprod(1 - betas.sigmoid(1000, start, end, tau), 0)
    assert alpha_bar[399].item() == pytest.approx((high - at_u) / (high - low), rel=1e-9)


def test_quadratic_has_evenly_spaced_roots():
    roots = betas.quadratic(100).sqrt()
    torch.testing.assert_close(roots.diff(), torch.full((99,), (0.02**0.5 - 0.01) / 99, dtype=torch.float64))


# Short chains of the unscaled schedules do not reach noise; BetaSchedule warns of that (test_schedules.py).
REACHES_NOISE = {
    "cosine": (betas.cosine, (10, 100, 1000, 4000)),
    "sigmoid": (betas.sigmoid, (10, 100, 1000, 4000)),
    "linear": (betas.linear, (1000, 4000)),
    "linear scaled": (lambda T: betas.linear(T, scale_with_T=True), (100, 1000, 4000)),
    "quadratic": (betas.quadratic, (1000, 4000)),
}


@pytest.mark.parametrize(("make", "T"), [(make, T) for make, sizes in REACHES_NOISE.values() for T in sizes])
def test_alpha_bar_falls_strictly_to_noise(make, T):
    beta = make(T)
    assert beta.shape == (T,)
    assert beta.dtype == torch.float64
    assert bool(((beta > 0) & (beta < 1)).all())
    alpha_bar = torch.cumprod(1 - beta, 0)
    assert bool((alpha_bar.diff() < 0).all())
    assert alpha_bar[-1] < 2e-3


@pytest.mark.parametrize("T", [0, -5, 2.5])
@pytest.mark.parametrize("make", [betas.linear, betas.quadratic, betas.cosine, betas.sigmoid])
def test_bad_T_is_refused(make, T):
    with pytest.raises(UserError, match=r"schedule.betas.T=.* at least 1"):
        make(T)


def test_bad_end_points_are_refused():
    with pytest.raises(UserError, match="0 < beta_start <= beta_end < 1"):
        betas.linear(1000, beta_start=0.02, beta_end=1e-4)
    with pytest.raises(UserError, match="schedule=cosine"):
        betas.linear(10, scale_with_T=True)
    with pytest.raises(UserError, match="quadratic"):
        betas.quadratic(1000, beta_end=1.5)
    with pytest.raises(UserError, match="start < end"):
        betas.sigmoid(1000, start=3, end=-3)
    with pytest.raises(UserError, match="beta_max"):
        betas.cosine(1000, beta_max=1.0)

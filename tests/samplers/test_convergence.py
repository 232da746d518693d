"""The order of every deterministic sampler of conf/, fitted where the probability flow is known."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch

from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Trailing
from inkwash.samplers.base import Sampling
from support.analytic import Exact, Mixture, f64, flow
from support.samplers import SAMPLERS, Between, sampler_of
from support.selection import mostly_slow

# A path, an inner range of its times, and the steps from which a method shows its order there.
PATHS = {
    "linear": (BetaSchedule(linear(4000, scale_with_T=True)), 4000, 800, 80),
    "cosine": (BetaSchedule(cosine(4000)), 3200, 800, 80),
    "flow": (FlowSchedule(), 0.9, 0.1, 80),
    "vp": (VPSchedule(), 0.8, 0.2, 80),
    "edm": (EDMSchedule(sigma_max=10), 4.0, 0.8, 160),
}
GAUSSIAN = Mixture(f64(1.0), f64(0.3).view(1, 1, 1, 1), f64(0.5))
MIXTURE = Mixture(f64(0.3, 0.5, 0.2), f64(-0.6, 0.2, 0.7).view(3, 1, 1, 1), f64(0.3, 0.25, 0.35))
X = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)

ORDERS = {"ddim": 1, "heun": 2, "dpmpp_2m": 2, "dpmpp_3m": 3, "unipc": 3}
LIKE_DDIM = {"ddim_dynamic", "euler"}
STOCHASTIC = {"ancestral", "ancestral_between", "dpmpp_2m_sde"}  # their orders are in test_stochastic.py
NO_ORDER = {"consistency"}  # exact in one step, for the estimates that it is for: test_consistency.py


def test_every_sampler_has_its_order_fitted():
    assert set(SAMPLERS) == set(ORDERS) | LIKE_DDIM | STOCHASTIC | NO_ORDER
    for name in LIKE_DDIM:
        images = [
            sampler_of(n, Trailing(5), clip=None)(Exact(FlowSchedule(), MIXTURE), lambda: X) for n in (name, "ddim")
        ]
        assert torch.equal(*images)


def gaussian_flow(path, x_t, t, s):
    """x - mu alpha grows as its standard deviation does."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = path(f64(t)), path(f64(s))
    mu, std = GAUSSIAN.means[0], GAUSSIAN.stds
    growth = ((alpha_s**2 * std**2 + sigma_s**2) / (alpha_t**2 * std**2 + sigma_t**2)).sqrt()
    return mu * alpha_s + (x_t - mu * alpha_t) * growth


@cache
def solution(data, name, steps):
    """x at the noisy end of a path's range, after one and two of `steps`, and at the clean end."""
    path, high, low, _ = PATHS[name]
    start = path.prior_std(high) * X
    times = [*Between(high, low, steps)(path)[1:3].tolist(), low]
    if data == "gaussian":
        return start, *(gaussian_flow(path, start, high, s) for s in times)
    return start, *(flow(MIXTURE, path, start, high, s, 300 if s == low else 30) for s in times)


@cache
def error(name, data, steps, exact_starts=False, **arguments):
    """Of x at the clean end, from the YAML `name[0]` on the path `name[1]`."""
    sampler_name, path_name = name
    path, high, low, _ = PATHS[path_name]
    spacing = Between(high, low, steps)
    sampler, times = sampler_of(sampler_name, spacing, clip=None, **arguments), spacing(path)
    start, *starts, end = solution(data, path_name, steps)
    denoiser = Exact(path, GAUSSIAN if data == "gaussian" else MIXTURE)
    run, x = Sampling(path, times, denoiser, lambda: X), start
    for k, (t, s) in enumerate(pairwise(times)):
        x = sampler.step(x, t.expand(len(X)), s.expand(len(X)), run)
        x = starts[k] if exact_starts and k < 2 else x
    return (x - end).abs().max().item()


def fitted(name, data, **arguments):
    """log2 of the error's fall when steps double."""
    steps = PATHS[name[1]][3]
    return math.log2(error(name, data, steps, **arguments) / error(name, data, 2 * steps, **arguments))


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("path", mostly_slow([*PATHS], "cosine", "flow"))
@pytest.mark.parametrize("data", ["gaussian", "mixture"])
@pytest.mark.parametrize(("name", "order"), ORDERS.items(), ids=ORDERS)
def test_order(name, order, data, path):
    """Within 0.2 of the order of the method.

    DPM-Solver++ 3M is given the exact solution after its first two steps, which are of first and second order: an
    error of h^2 made once is there to the end. UniPC corrects its first step and needs no help.
    """
    assert fitted((name, path), data, exact_starts=name == "dpmpp_3m") == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("path", mostly_slow([*PATHS], "cosine", "flow"))
@pytest.mark.parametrize("p", [1, 3])
def test_order_of_unipc_is_one_above_its_predictors(p, path):
    assert fitted(("unipc", path), "mixture", order=p, exact_starts=p == 3) == pytest.approx(p + 1, abs=0.2)


@pytest.mark.parametrize("path", mostly_slow([*PATHS], "cosine", "flow"))
@pytest.mark.parametrize("name", [name for name, order in ORDERS.items() if order == 3])
def test_third_order_is_worth_it_from_its_own_start(name, path):
    assert error((name, path), "mixture", 80) < 0.8 * error(("dpmpp_2m", path), "mixture", 80)


@pytest.mark.parametrize("path", mostly_slow([*PATHS], "cosine", "flow"))
@pytest.mark.parametrize("name", ORDERS)
def test_whole_range_from_noise_to_data(name, path):
    """From t_max, where flow has alpha = 0, to sigma = 0: finite, and better with more steps."""
    if (name, path) == ("heun", "cosine"):
        pytest.skip("refused: it would start at sigma / alpha = 20,000")
    schedule = PATHS[path][0]
    exact = gaussian_flow(schedule, schedule.prior_std(schedule.t_max) * X, schedule.t_max, 0.0)
    errors = []
    for steps in (10, 160):
        found = sampler_of(name, Trailing(steps), clip=None)(Exact(schedule, GAUSSIAN), lambda: X)
        errors.append((found - exact).abs().max().item())
    assert errors[1] < errors[0] / 8

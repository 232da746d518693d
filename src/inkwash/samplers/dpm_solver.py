"""DPM-Solver++ (Lu et al. 2022b): exponential integrators of the probability flow ODE in x_0, on any path.

With lambda = log(alpha / sigma) and h = lambda_s - lambda_t the exact solution is

    x_s = sigma_s / sigma_t x_t + alpha_s (1 - exp(-h)) m,

m the mean of x_0 over the step, weighted by exp(lambda). The methods differ in how they estimate m from x_0 at the
times they have seen. Ratios are written so that alpha_t = 0 and sigma_s = 0 need no special case.
"""

import torch
from torch import Tensor

from inkwash.process.forward import mix, q_posterior
from inkwash.process.schedules import Schedule
from inkwash.samplers.base import Sampler, Sampling

# Past estimates: the time t (n,) and x_0 (n, C, H, W) there, the latest first.
Seen = list[tuple[Tensor, Tensor]]


class DPMSolverPP2M(Sampler):
    """Second order multistep method (Lu et al. 2022b, Algorithm 2): one evaluation a step.

    The first step, and the last one to sigma = 0, are of first order, which is DDIM's step.
    """

    order = 2

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        return advance(run.schedule, x_t, t, s, self._mean_x_0(x_t, t, s, run))

    def _mean_x_0(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        seen = remember(run, t, s, run.denoise(x_t, t).x_0, self.order)
        return mean_x_0(run, seen, t, s)


class DPMSolverPP3M(DPMSolverPP2M):
    """Third order multistep method: m from a parabola through the last three estimates.

    The code published with Lu et al. 2022b gives the second difference half of its weight in that integral, and so has
    order two; here it has all of it. What the first step, of first order, leaves behind is an error of h^2 all the
    same, if a small one; UniPC has no such limit.
    """

    order = 3


class DPMSolverPP2MSDE(DPMSolverPP2M):
    """Second order multistep method for the SDE, SDE-DPM-Solver++(2M) (Lu et al. 2022b, later versions).

    That is ancestral sampling with the variance of q(x_s | x_t, x_0), but from x_0 extrapolated to the middle of the
    step in place of x_0 at its beginning.
    """

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        mean, variance = q_posterior(run.schedule, self._mean_x_0(x_t, t, s, run), x_t, s, t)
        return mix(torch.ones_like(variance), mean, variance.sqrt(), run.noise())


def remember(run: Sampling, t: Tensor, s: Tensor, x_0: Tensor, order: int) -> Seen:
    """Add an estimate to those seen and keep as many as the step from t to s is to use.

    That is two in the step before the last one to sigma = 0. It can be many times as long in lambda as the one before,
    and higher differences of x_0 only add error there (`lower_order_final` in the published code).
    """
    *_, before_last, last = run.host_times
    if bool(last == 0) and bool(run.on_host(s) == before_last):
        order = min(order, 2)
    seen: Seen = run.memory.setdefault("seen", [])
    seen.insert(0, (t, x_0))
    del seen[order:]
    return seen


def advance(schedule: Schedule, x_t: Tensor, t: Tensor, s: Tensor, x_0: Tensor) -> Tensor:
    """Return the exact solution x_s for a mean x_0 over the step; DDIM's step when it is x_0 at t."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
    exp_minus_h = alpha_t * sigma_s / (alpha_s * sigma_t)
    return mix(sigma_s / sigma_t, x_t, alpha_s * (1 - exp_minus_h), x_0)


def mean_x_0(run: Sampling, seen: Seen, t: Tensor, s: Tensor) -> Tensor:
    """Return the mean over the step of the polynomial in lambda through what was seen, weighted by exp(lambda).

    Where alpha = 0 or sigma = 0, lambda is infinite: such a step is of first order, and such a time is left out.
    """
    if not (_is_finite(run, t) and _is_finite(run, s)):
        return seen[0][1]
    start = run.schedule.half_log_snr(t)
    h = run.schedule.half_log_snr(s) - start
    seen = [(run.schedule.half_log_snr(at), x_0) for at, x_0 in seen if _is_finite(run, at)]
    weights = step_weights(torch.stack([(at - start) / h for at, _ in seen], dim=1), h)
    weights = weights.to(seen[0][1].dtype).view(*weights.shape, 1, 1, 1)
    return (weights * torch.stack([x_0 for _, x_0 in seen], dim=1)).sum(dim=1)


def _is_finite(run: Sampling, t: Tensor) -> bool:
    """Tell whether lambda is finite at a time."""
    return bool(run.host_schedule.half_log_snr(run.on_host(t)).isfinite().all())


def step_weights(places: Tensor, h: Tensor) -> Tensor:
    """Return weights (n, k), for the mean over the step, of values at `places` (n, k), 0 its beginning and 1 its end.

    They are exact for polynomials of degree k - 1: sum_i w_i places_i^j = E[v^j] for v of density proportional to
    exp(h v). Two values are weighted for v = 1/2 instead: Algorithm 2 of Lu et al. 2022b and B_2(h) of Zhao et al.
    2023 make that choice, which is of the same order.
    """
    k = places.shape[1]
    moments, psi = [torch.ones_like(h)], -torch.expm1(-h)
    for j in range(1, k):
        psi = 1 - j / h * psi
        moments.append(-psi / torch.expm1(-h))
    if k == 2:
        moments[1] = torch.full_like(h, 0.5)
    vandermonde = torch.stack([places**j for j in range(k)], dim=1)
    # torch.linalg.solve would wait for the device, to look whether it is singular; different times never are.
    return torch.linalg.solve_ex(vandermonde, torch.stack(moments, dim=1)).result

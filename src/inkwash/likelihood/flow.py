"""Likelihood of a continuous path by its probability flow ODE (Song et al. 2021, section 4.3)."""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.likelihood.bound import LEVEL
from inkwash.process.forward import mix
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing


def flow_bits_per_dim(
    denoiser: nn.Module, spacing: Spacing, x_0: Tensor, y: Tensor | None, dequantise: Tensor, probe: Tensor
) -> Tensor:
    """Return -log2 p(x_0) per dimension by the probability flow ODE, (n,), float64 (Song et al. 2021, eq. 39 and 40).

    dx/dt = alpha' x_0 + sigma' eps with the denoiser's estimates, by the classical Runge-Kutta method over the times of
    the spacing, from t_min, where the images are taken for x_t, to its greatest.

    Args:
        x_0: (n, C, H, W), of 256 levels.
        dequantise: uniform in [0, 1), of the shape of x_0, spreads each level over its width.
        probe: +-1 at random, of that shape: Hutchinson's estimate of the divergence (Grathwohl et al. 2019, eq. 7).

    Raises:
        UserError: the schedule is a chain, whose time is not continuous, or the times leave out part of the way.
    """
    schedule: Schedule = denoiser.schedule  # pyright: ignore[reportAssignmentType]
    times = _times(spacing, schedule)
    x = x_0 + (dequantise - 0.5).to(x_0) * LEVEL
    log_det = torch.zeros(len(x), dtype=torch.float64, device=x.device)

    @cache  # stages share their times
    def rates(t: float) -> tuple[Tensor, Tensor]:
        at = torch.full((1,), t, dtype=torch.float64, device=x_0.device)
        return torch.func.jvp(schedule, (at,), (torch.ones_like(at),))[1]

    def slope(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        at = torch.full((len(x),), t, dtype=torch.float64, device=x.device)
        return _velocity(denoiser, x, at, y, rates(t), probe)

    for t, u in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h = u - t
        v_1, d_1 = slope(x, t)
        v_2, d_2 = slope(x + h / 2 * v_1, t + h / 2)
        v_3, d_3 = slope(x + h / 2 * v_2, t + h / 2)
        v_4, d_4 = slope(x + h * v_3, u)
        x = x + h / 6 * (v_1 + 2 * v_2 + 2 * v_3 + v_4)
        log_det = log_det + h / 6 * (d_1 + 2 * d_2 + 2 * d_3 + d_4)
    std = schedule.prior_std(float(times[-1]))
    log_prior = -(x.double() / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2
    dimensions = x[0].numel()
    log_p = log_prior.flatten(1).sum(dim=1) + log_det
    return -log_p / dimensions / math.log(2) - math.log2(LEVEL)


def _times(spacing: Spacing, schedule: Schedule) -> Tensor:
    """Return the times of the solver, float64, (steps,), from t_min up."""
    if schedule.discrete:
        raise UserError(
            "the likelihood of the probability flow needs continuous time: use schedule=vp, flow or edm, or, for a "
            "chain, likelihood=bound"
        )
    times = spacing(schedule)[:-1].flip(0)
    if len(times) < 2:
        raise UserError(f"likelihood.spacing.steps={len(times)} must be at least 2: from one time there is no way")
    # Images taken for x_t at a later time would be charged for noise that they do not have.
    if not math.isclose(times[0], schedule.t_min, rel_tol=1e-6):
        raise UserError(
            f"likelihood.spacing={type(spacing).__name__} ends at t={times[0]:g}, not at the schedule's "
            f"t_min={schedule.t_min:g}: use inkwash.process.spacing.LogSNR with likelihood.spacing.sigma_min=null"
        )
    return times


def _velocity(
    denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor | None, rates: tuple[Tensor, Tensor], probe: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (dx/dt, probe^T d(dx/dt)/dx probe) at x, for rates (alpha', sigma')."""
    d_alpha, d_sigma = rates
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        estimate = denoiser(x, t, y)
        velocity = mix(d_alpha, estimate.x_0, d_sigma, estimate.eps)
        (pulled,) = torch.autograd.grad(velocity, x, probe.to(velocity))
    divergence = (pulled * probe).flatten(1).double().sum(dim=1)
    return velocity.detach(), divergence


class FlowBits:
    """Likelihood in bits/dim by the probability flow ODE.

    Args:
        spacing: the times that the solver visits, four network evaluations and gradients between neighbours. The least
            must be t_min. LogSNR treats all noise levels alike; times even in t pass over the small ones.
        probes: dequantisations and Hutchinson probes to average over; Song et al. 2021 take 5.
    """

    key = "bits_per_dim_flow"

    def __init__(self, spacing: Spacing, probes: int = 1):
        if probes < 1:
            raise UserError(f"likelihood.probes={probes} must be at least 1")
        self.spacing, self.probes = spacing, probes

    def check(self, schedule: Schedule, learn_variance: bool = False) -> None:
        """Raise UserError unless the path is continuous and the times cover it; a learned variance is not used."""
        _times(self.spacing, schedule)

    def __call__(self, denoiser: nn.Module, x_0: Tensor, y: Tensor | None, noise: Callable[[], Tensor]) -> Tensor:
        """Return bits/dim of images x_0 (n, C, H, W) with labels y (n,): (n,), float64; `noise` is each image's own."""
        estimates = []
        for _ in range(self.probes):
            dequantise, probe = torch.special.ndtr(noise()), torch.where(noise() > 0, 1.0, -1.0)
            estimates.append(flow_bits_per_dim(denoiser, self.spacing, x_0, y, dequantise, probe))
        return torch.stack(estimates).mean(dim=0)

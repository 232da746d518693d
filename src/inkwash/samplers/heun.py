"""Heun's method on the probability flow ODE, with optional fresh noise (Karras et al. 2022), on any path."""

import math

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import mix, q_sample, transition
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Sampling
from inkwash.samplers.clipping import Clip

# EDM starts at 80, DDPM's linear chain at 157; a cosine chain at 20,000.
MAX_SIGMA_OVER_ALPHA = 1000.0


class Heun(Sampler):
    """Heun sampler, of second order: Euler's step in (x / alpha, sigma / alpha), corrected by the slope at its end.

    In those coordinates the slope of the ODE is eps, so Euler's step is DDIM's, and the corrected one takes the mean
    of the two eps. Two evaluations a step, one in the last, where sigma_s = 0 has no slope (Algorithm 1).

    With S_churn > 0 every step begins by raising sigma / alpha by a fraction gamma = min(S_churn / steps, sqrt(2) - 1)
    with fresh noise (Algorithm 2): a step of q forward in time, so the marginal stays exact, and none beyond t_max,
    where the network was not trained. Between the levels of a chain its network knows no time either: there the
    nearest whole time is taken, with the noise that belongs to it, and none where that is t itself.

    Args:
        S_churn: 0 is deterministic; 10 to 80 in the paper.
        S_tmin, S_tmax: only for sigma / alpha between these; None for no upper bound.
        S_noise: factor of the fresh noise, 1.003 or 1.007 in the paper, because networks remove some detail.
    """

    def __init__(
        self,
        spacing: Spacing,
        S_churn: float = 0.0,
        S_tmin: float = 0.0,
        S_tmax: float | None = None,
        S_noise: float = 1.0,
        clip: float | Clip | None = 1.0,
        rederive_eps: bool = True,
    ):
        super().__init__(spacing, clip, rederive_eps)
        self.S_churn, self.S_tmin, self.S_noise = S_churn, S_tmin, S_noise
        self.S_tmax = math.inf if S_tmax is None else S_tmax
        if not (S_churn >= 0 and S_noise >= 0):
            raise UserError(f"sampler.S_churn={S_churn} and sampler.S_noise={S_noise} must not be negative")
        if not 0 <= S_tmin <= self.S_tmax:
            raise UserError(f"sampler.S_tmin={S_tmin} must lie between 0 and sampler.S_tmax={S_tmax}")

    def check(self, schedule: Schedule) -> None:
        first = float(schedule.sigma_over_alpha(self.spacing(schedule)[:1]))
        if MAX_SIGMA_OVER_ALPHA < first < math.inf:
            raise UserError(
                f"sampler=heun steps in sigma / alpha, which starts at {first:.2g} here, and one slope cannot stand "
                "for such a step: use spacing=karras, or sampler=dpmpp_2m"
            )

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        if self.S_churn > 0:
            x_t, t = self._churned(x_t, t, run)
        last = bool(run.host_schedule(run.on_host(s))[1] == 0)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = run.schedule(s), run.schedule(t)
        x_0, eps = run.denoise(x_t, t)
        x_s = q_sample(run.schedule, x_0, s, eps)
        if last:
            return x_s
        _, eps_s = run.denoise(x_s, s)
        # x_s = alpha_s (x_t / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) * slope): take the mean of two slopes.
        # Where alpha_t = 0 those coordinates begin at infinity, and Euler's step stands.
        step = torch.where(alpha_t > 0, sigma_s - alpha_s * sigma_t / alpha_t, 0.0)
        return mix(torch.ones_like(step), x_s, step / 2, eps_s - eps)

    def _churned(self, x_t: Tensor, t: Tensor, run: Sampling) -> tuple[Tensor, Tensor]:
        """Return x at a noisier time, and that time (n,)."""
        noise, steps = run.noise(), len(run.times) - 1
        now = run.on_host(t)
        raised = self._raised(now, run.host_schedule, steps)
        if not bool(raised > now):
            return x_t, t
        t_hat = run.expanded(self._raised(t, run.schedule, steps), raised, len(t))
        scale, variance = transition(run.schedule, t, t_hat)
        return mix(scale, x_t, self.S_noise * variance.sqrt(), noise), t_hat

    def _raised(self, t: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """Return the time that is noisier than t by gamma, or t itself."""
        level = schedule.sigma_over_alpha(t)
        gamma = min(self.S_churn / steps, math.sqrt(2) - 1)
        wanted = level.isfinite() & (self.S_tmin <= level) & (level <= self.S_tmax)
        return torch.where(wanted, schedule.time_of((1 + gamma) * level), t)

"""Consistency loss: a network that names the end of the probability flow, by tuning one that denoises."""

import torch
from torch import Tensor

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.base import Loss, refuse_weighting
from inkwash.process.forward import q_sample
from inkwash.process.times import Times
from inkwash.process.weightings import Weighting
from inkwash.random import restore_default, state_of_default

STAGES = 8  # of Geng et al.


class ConsistencyLoss(Loss):
    """Consistency tuning: |f(x_t, t) - f(x_r, r)| / (rho_t - rho_r), f the estimate of x_0 (Geng et al. 2024, ECT).

    x_t and x_r have the same x_0 and eps, so for r close to t they lie on one path of the probability flow, and f
    becomes the same all along it: its clean end. f(x_r, r) takes no gradient. It uses the same dropout mask, and is x_0
    itself where r = 0. With rho = sigma / alpha, sigma of the paper, in stage j = 0, 1, ...

        rho_r = rho_t * max(0, 1 - (1 + k sigmoid(-b rho_t)) / q^(j + 1))

    so that the first stages are much like denoising and the last ones compare neighbours. The distance is the root of
    the mean square over pixels; with c > 0 it is sqrt(d^2 + c^2) - c. Below the path's t_min r is 0.

    Args:
        total_steps: optimizer steps of the training, which the stages share equally.
        stages: their number; None for 8, or one for each step of a shorter training.
        q: how much closer the two times get from stage to stage.
        k, b: how much further they are apart where there is little noise.
        c: rounds the distance near 0.
        times, label_dropout: see Loss.
        weighting: the configuration's, refused unless it is uniform: 1 / (rho_t - rho_r) is the weight.

    Raises:
        UserError: a value is out of its range.
    """

    tunes = True
    posterior_mean = False

    def __init__(
        self,
        times: Times,
        total_steps: int,
        stages: int | None = None,
        q: float = 2.0,
        k: float = 8.0,
        b: float = 1.0,
        c: float = 0.0,
        label_dropout: float = 0.1,
        weighting: Weighting | None = None,
    ):
        super().__init__(times, label_dropout)
        stages = min(STAGES, total_steps) if stages is None else stages
        for name, count in {"total_steps": total_steps, "stages": stages}.items():
            if count < 1:
                raise UserError(f"loss.{name}={count} must be at least 1")
        if not q > 1:
            raise UserError(f"loss.q={q} must be above 1: the two times get closer by it from stage to stage")
        for name, value in {"k": k, "b": b, "c": c}.items():
            if value < 0:
                raise UserError(f"loss.{name}={value} must not be negative")
        refuse_weighting(weighting, "loss=consistency weights by the distance of its two times")
        self.total_steps, self.stages, self.q, self.k, self.b, self.c = total_steps, stages, q, k, b, c
        self.stage = 0

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        super().check(denoiser, learn_variance)
        if self.stages > self.total_steps:
            raise UserError(
                f"loss.stages={self.stages} are more than the trainer.max_steps={self.total_steps} that share them: "
                f"pass loss.stages={self.total_steps}, or train longer"
            )
        if denoiser.schedule.discrete:
            raise UserError(
                "loss=consistency compares times that get ever closer, which a chain of whole steps has not: pass "
                "schedule=edm prediction=edm, and init_from a run trained with them"
            )
        one, zero = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (1.0, 0.0))
        if float(denoiser.prediction.coefficients(one, zero)[1]) == 0:
            raise UserError(
                f"prediction={denoiser.prediction.name}: what it decodes of a clean image is not that image, where "
                "loss=consistency starts from: pass prediction=edm, v or flow"
            )

    def at_step(self, step: int) -> None:
        self.stage = min(step * self.stages // self.total_steps, self.stages - 1)

    def earlier(self, rho: Tensor) -> Tensor:
        """Return rho_r of rho_t (n,) in the present stage, float64, (n,)."""
        apart = (1 + self.k * torch.sigmoid(-self.b * rho)) / self.q ** (self.stage + 1)
        return rho * (1 - apart).clamp(min=0)

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        schedule = denoiser.schedule
        rho = schedule.sigma_over_alpha(t)
        rho_r = self.earlier(rho)
        rho_r = torch.where(rho_r < schedule.sigma_over_alpha(torch.full_like(t, schedule.t_min)), 0.0, rho_r)
        told = {} if augment is None else {"augment": augment}

        masks = state_of_default(x_0.device)
        f_t = denoiser(q_sample(schedule, x_0, t, eps), t, y, **told).x_0
        restore_default(masks, x_0.device)
        with torch.no_grad():
            r = schedule.time_of(rho_r)
            f_r = denoiser(q_sample(schedule, x_0, r, eps), r, y, **told).x_0
            f_r = torch.where((rho_r > 0).view(-1, 1, 1, 1), f_r, x_0.to(f_r.dtype))
        # The norm's gradient at 0 is 0, that of the root of a mean square is not a number.
        d = torch.linalg.vector_norm((f_t - f_r).flatten(1), dim=1) / f_t[0].numel() ** 0.5
        if self.c > 0:
            d = (d**2 + self.c**2).sqrt() - self.c
        return (d / (rho - rho_r).to(d.dtype)).float()

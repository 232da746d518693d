"""Denoising diffusion implicit models (Song et al. 2020, eq. 12), on any path."""

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import mix, posterior_variance, q_sample
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Sampling
from inkwash.samplers.clipping import Clip


class DDIM(Sampler):
    """DDIM sampler: x_s = alpha_s x_0 + sqrt(sigma_s^2 - eta^2 w) eps + eta sqrt(w) z.

    w is the variance of q(x_s | x_t, x_0) and z ~ N(0, I). A network that can be told where a step ends is told s at
    eta = 0: the step is then its jump (losses/jumps.py).

    Args:
        eta: 0 is deterministic (on the straight path this is Euler's method), 1 ancestral with the small variance.
            It scales the standard deviation, as in the paper.
    """

    def __init__(self, spacing: Spacing, eta: float = 0.0, clip: float | Clip | None = 1.0, rederive_eps: bool = True):
        super().__init__(spacing, clip, rederive_eps)
        if not 0 <= eta <= 1:
            raise UserError(f"sampler.eta={eta} must lie between 0 and 1")
        self.eta = eta

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        if self.eta == 0:
            x_0, eps = run.jump(x_t, t, s)
            return q_sample(run.schedule, x_0, s, eps)
        x_0, eps = run.denoise(x_t, t)
        alpha_s, sigma_s = run.schedule(s)
        variance = self.eta**2 * posterior_variance(run.schedule, s, t)
        mean = mix(alpha_s, x_0, (sigma_s**2 - variance).clamp(min=0).sqrt(), eps)
        return mix(torch.ones_like(variance), mean, variance.sqrt(), run.noise())

"""DDIM inversion: from images to noise by the probability flow ODE, from data to noise."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.process.forward import q_sample
from inkwash.process.spacing import Spacing


@torch.no_grad()
def invert(denoiser: nn.Module, spacing: Spacing, x_0: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the noise z with `DDIM(spacing, clip=None)(denoiser, lambda: z, y)` near x_0, both (n, C, H, W).

    DDIM's step taken upwards, x_t = alpha_t x_0(x_s, s) + sigma_t eps(x_s, s) for s < t (Song et al. 2020, section
    4.3): of first order, so twice the steps halve the error of a round trip. Clean images have no eps of their own;
    the first step takes the denoiser's eps of them at t. z is x at the noisiest time over the prior's standard
    deviation there, as samplers take their noise.
    """
    schedule: Any = denoiser.schedule
    times = spacing(schedule).to(x_0.device)
    x = x_0
    for s, t in pairwise(times.flip(0).unsqueeze(1).expand(-1, len(x_0))):
        estimate = Estimate(x_0, denoiser(x_0, t, y).eps) if x is x_0 else denoiser(x, s, y)
        x = q_sample(schedule, estimate.x_0, t, estimate.eps)
    return x / schedule.prior_std(float(times[0]))

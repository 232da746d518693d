"""Heun's method on the probability flow ODE (Karras et al. 2022, Algorithm 1), on any path."""

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import mix
from inkwash.samplers.base import Sampler, Sampling

# EDM starts at 80, DDPM's linear chain at 157; a cosine chain at 20,000.
MAX_RATIO = 1000.0


class Heun(Sampler):
    """A step of Euler's method in (x / alpha, sigma / alpha), corrected by the slope at its end: second order.

    In those coordinates the slope of the ODE is eps, so Euler's step is DDIM's, and the corrected one takes the mean
    of the two eps. Two evaluations a step, one in the last, where sigma_s = 0 has no slope.
    """

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = run.schedule(s), run.schedule(t)
        if "first" not in run.memory:
            run.memory["first"] = ratio = (sigma_t / alpha_t).max()
            if MAX_RATIO < float(ratio) < float("inf"):
                raise UserError(
                    f"sampler=heun steps in sigma / alpha, which starts at {float(ratio):.2g} here, and one slope "
                    "cannot stand for such a step: use spacing=karras, or sampler=dpmpp_2m"
                )
        x_0, eps = run.denoise(x_t, t)
        x_s = mix(alpha_s, x_0, sigma_s, eps)
        if bool((sigma_s == 0).all()):
            return x_s
        _, eps_s = run.denoise(x_s, s)
        # x_s = alpha_s (x_t / alpha_t + (sigma_s / alpha_s - sigma_t / alpha_t) * slope): take the mean of two slopes.
        # Where alpha_t = 0 those coordinates begin at infinity, and Euler's step stands.
        step = torch.where(alpha_t > 0, sigma_s - alpha_s * sigma_t / alpha_t, 0.0)
        return mix(torch.ones_like(step), x_s, step / 2, eps_s - eps)

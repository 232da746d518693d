"""DPM-Solver++ (Lu et al. 2022b): exponential integrators of the probability flow ODE in x_0, on any path.

With lambda = log(alpha / sigma) and h = lambda_s - lambda_t the exact solution is
x_s = sigma_s / sigma_t x_t + sigma_s * integral of exp(lambda) x_0 d lambda; the methods differ in how they extend x_0
over the step. Ratios are written so that alpha_t = 0 and sigma_s = 0 need no special case.
"""

import torch
from torch import Tensor

from inkwash.process.forward import mix
from inkwash.samplers.base import Sampler, Sampling


class DPMSolverPP2M(Sampler):
    """The second order multistep method (Lu et al. 2022b, Algorithm 2): one evaluation a step.

    The first step, and the last one to sigma = 0, are of first order, which is DDIM's step.
    """

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        x_0, _ = run.denoise(x_t, t)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = run.schedule(s), run.schedule(t)
        log_ratio = torch.log(alpha_t * sigma_s / (alpha_s * sigma_t))  # -h
        extended = self._extend(x_0, -log_ratio, run)
        return mix(sigma_s / sigma_t, x_t, -alpha_s * torch.expm1(log_ratio), extended)

    @staticmethod
    def _extend(x_0: Tensor, h: Tensor, run: Sampling) -> Tensor:
        """x_0 at the middle of the step, extrapolated linearly in lambda through the last two estimates."""
        before, h_before = run.memory.get("x_0"), run.memory.get("h")
        run.memory["x_0"], run.memory["h"] = x_0, h
        if before is None or h_before is None:
            return x_0
        # 1 / (2 r) of the paper; 0 where a step is infinitely long, from alpha = 0 or to sigma = 0.
        weight = torch.where(h.isfinite() & h_before.isfinite(), h / (2 * h_before), 0.0)
        return mix(1 + weight, x_0, -weight, before)

"""Multistep consistency sampling (Song et al. 2023, Algorithm 1), on any path."""

from torch import Tensor

from inkwash.process.forward import q_sample
from inkwash.samplers.base import Sampler, Sampling


class Consistency(Sampler):
    """Consistency sampler: x_s = alpha_s x_0(x_t, t) + sigma_s z with fresh noise z ~ N(0, I).

    For networks whose estimate of x_0 is the clean end of the probability flow (losses/consistency.py): one step draws
    an image, each further one noises it again, less, and corrects it. The mean of all images that x_t may come from,
    which other networks estimate, is no image, and no number of such steps makes one of it.
    """

    needs_ends = True

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        x_0, _ = run.denoise(x_t, t)
        return q_sample(run.schedule, x_0, s, run.noise())

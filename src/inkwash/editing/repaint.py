"""Inpainting with a network that was never trained for it (RePaint, Lugmayr et al. 2022)."""

from itertools import pairwise

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import q_sample, q_step
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Sampling


class Resampled(Spacing):
    """Spacing of another one, cut into stretches of `jump_length` steps that are each walked `resamples` times.

    So times also rise, at once from the end of a stretch to its beginning. Stretches are counted from the data's end,
    and the step to t = 0, from where nothing returns, is walked once: resamples * (steps - 1) + 1 steps to the data.

    Args:
        resamples: r of the paper, 1 for none.
        jump_length: j of the paper.
    """

    def __init__(self, spacing: Spacing, resamples: int, jump_length: int):
        super().__init__(spacing.steps)
        if min(resamples, jump_length) < 1:
            raise UserError(f"task.resamples={resamples} and task.jump_length={jump_length} must be at least 1")
        self.spacing, self.resamples, self.jump_length = spacing, resamples, jump_length

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        once = self.spacing(schedule)[:-1]
        last, walk = len(once) - 1, [0]
        for start, end in pairwise([0, *sorted(range(last, 0, -self.jump_length))]):
            walk += ([*range(start + 1, end + 1), start] * self.resamples)[:-1]
        return once[walk]


class RePaint(Sampler):
    """Sampler that replaces the known pixels after every step, at the noise level of its end.

    Algorithm 1 in the paper's symbols: x_{t-1} = m x_{t-1}^known + (1 - m) x_{t-1}^unknown, m the known part and
    x_{t-1}^known ~ q(x_{t-1} | x_0). A step draws the unknown pixels given the known ones of x_t, which are noisy: the
    result depends on them too little. Walking stretches again from x_t ~ q(x_t | x_{t-1}) makes up for that, for all of
    it only with many, short and often repeated steps (measured on two pixels in tests/editing/test_repaint.py).

    Any path and any sampler, the paper's is ancestral; one that remembers earlier steps forgets them at a jump.

    Args:
        sampler: how a step is made.
        x_0: (n, C, H, W), of which the known part is used.
        unknown: bool, broadcast to x_0: what to paint.
        resamples, jump_length: see Resampled.
    """

    def __init__(self, sampler: Sampler, x_0: Tensor, unknown: Tensor, resamples: int, jump_length: int):
        spacing = Resampled(sampler.spacing, resamples, jump_length)
        super().__init__(spacing, sampler.clip, sampler.rederive_eps)
        self.sampler, self.x_0, self.unknown = sampler, x_0, unknown

    def check(self, schedule: Schedule) -> None:
        self.sampler.check(schedule)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        if bool(run.on_host(s) > run.on_host(t)):
            run.memory.clear()
            return q_step(run.schedule, x_t, t, s, run.noise())
        x_s = self.sampler.step(x_t, t, s, run)
        return torch.where(self.unknown, x_s, q_sample(run.schedule, self.x_0, s, run.noise()))

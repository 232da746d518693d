"""Learning rate as a factor of the optimizer's own, counted in optimizer steps."""

import math

from inkwash.errors import UserError


class Warmup:
    """Rise linearly over warmup_steps, then stay at 1. The first step already moves: factor 1 / warmup_steps."""

    def __init__(self, warmup_steps: int = 0):
        if warmup_steps < 0:
            raise UserError(f"learning_rate.warmup_steps={warmup_steps} must not be negative")
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / max(self.warmup_steps, 1))


class WarmupCosine(Warmup):
    """Rise linearly, then fall to 0 at total_steps along half a cosine (Loshchilov & Hutter 2017, without restarts)."""

    def __init__(self, total_steps: int, warmup_steps: int = 0):
        super().__init__(warmup_steps)
        if total_steps < 1:
            raise UserError(f"learning_rate.total_steps={total_steps} must be at least 1")
        self.total_steps = total_steps

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return super().__call__(step)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        return (1 + math.cos(math.pi * min(progress, 1.0))) / 2

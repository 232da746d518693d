"""Learning-rate schedules: a factor of the optimizer's learning rate as a function of the optimizer step."""

import math

from inkwash.errors import UserError


class Warmup:
    """Linear warm-up: min(1, (step + 1) / warmup_steps), so that the first step is not lost.

    Args:
        warmup_steps: optimizer steps; 0 for none.
    """

    def __init__(self, warmup_steps: int = 0):
        if warmup_steps < 0:
            raise UserError(f"learning_rate.warmup_steps={warmup_steps} must not be negative")
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / max(self.warmup_steps, 1))


class InverseSqrt(Warmup):
    """Linear warm-up, then constant, then falling as 1 / sqrt(step) (Karras et al. 2024, EDM2, eq. 67).

    min(n / warmup_steps, 1) / sqrt(max(n / reference_steps, 1)) in the n-th step, n = 1, 2, ... EDM2 counts the images
    before the step, so that its first step is lost.

    Args:
        reference_steps: optimizer steps until it falls.
        warmup_steps: those of the warm-up.
    """

    def __init__(self, reference_steps: int, warmup_steps: int = 0):
        super().__init__(warmup_steps)
        if reference_steps < 1:
            raise UserError(f"learning_rate.reference_steps={reference_steps} must be at least 1")
        self.reference_steps = reference_steps

    def __call__(self, step: int) -> float:
        return super().__call__(step) / math.sqrt(max((step + 1) / self.reference_steps, 1.0))


class WarmupCosine(Warmup):
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2017, eq. 5, without restarts).

    (1 + cos(pi p)) / 2 with the fraction p of the steps after the warm-up that are done; 0 from total_steps on.

    Args:
        total_steps: optimizer steps until 0.
        warmup_steps: those of the warm-up among them.
    """

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

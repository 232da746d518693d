"""UniPC (Zhao et al. 2023): a multistep predictor and a corrector that costs no evaluation, in x_0, on any path."""

from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Sampling
from inkwash.samplers.clipping import Clip
from inkwash.samplers.dpm_solver import advance, mean_x_0, remember


class UniPC(Sampler):
    """UniPC-p with B_2(h), of order p + 1 (Zhao et al. 2023).

    x_s is predicted from the last p estimates of x_0. The estimate made there serves the next prediction, and before
    that it repeats the step, now through p + 1 estimates, one of them at its end. One evaluation a step; the last
    step, to sigma = 0, is of first order.

    Args:
        order: p; its authors advise 2 with guidance and 3 without.
    """

    def __init__(self, spacing: Spacing, order: int = 2, clip: float | Clip | None = 1.0, rederive_eps: bool = True):
        super().__init__(spacing, clip, rederive_eps)
        if order not in (1, 2, 3):
            raise UserError(f"sampler.order={order} must be 1, 2 or 3")
        self.order = order

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        x_0, _ = run.denoise(x_t, t)
        if "x" in run.memory:
            before, seen = run.memory["t"], [*run.memory["seen"], (t, x_0)]
            x_t = advance(run.schedule, run.memory["x"], before, t, mean_x_0(run, seen, before, t))
        run.memory.update(x=x_t, t=t)
        seen = remember(run, t, s, x_0, self.order)
        return advance(run.schedule, x_t, t, s, mean_x_0(run, seen, t, s))

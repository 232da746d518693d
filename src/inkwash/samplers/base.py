"""Base of samplers: the loop over times, and the noise of each image."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.guidance import of_a_batch
from inkwash.process.forward import eps_from
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.random import Draws, generator
from inkwash.samplers.clipping import Clip, clip_of

Watch = Callable[[Tensor, Tensor, Tensor], object]


class ImageNoise:
    """Standard normal images; those of image i are a function of (seed, i) and of the number of calls.

    So image i comes out the same at any batch size, on any number of ranks and on any device.
    """

    def __init__(
        self, seed: int, indices: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ):
        self.shape = (len(indices), *shape)
        self.draws = Draws([generator(seed, "sample", offset=i) for i in indices], device)

    def __call__(self) -> Tensor:
        """Draw the next (n, C, H, W), float32."""
        return self.draws.normal(*self.shape)


@dataclass
class Sampling:
    """One sampling run, as its steps see it.

    A step decides by `on_host` and `host_schedule`, never by the values of its own tensors: to read one from a GPU
    waits for all that the GPU still has to do.

    Attributes:
        schedule: the path.
        times: the times visited, (steps + 1,), noisiest first.
        denoise: (x_t, t) -> Estimate, which unpacks as (x_0, eps); labels and clipping included.
        noise: the next standard normal images.
        memory: values that a multistep method carries from one step to the next.
        two_times: True if `denoise` can be told, as `s`, at which time a step ends.
    """

    schedule: Schedule
    times: Tensor
    denoise: Callable[[Tensor, Tensor], Estimate]
    noise: Callable[[], Tensor]
    memory: dict[str, Any] = field(default_factory=dict)
    two_times: bool = False
    _known: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def jump(self, x_t: Tensor, t: Tensor, s: Tensor) -> Estimate:
        """Return the pair (x_0, eps) for DDIM's step from t to s, (n,): of a network that is told s, its jump."""
        denoise: Callable[..., Estimate] = self.denoise
        return denoise(x_t, t, s=s) if self.two_times else denoise(x_t, t)

    def expanded(self, t: Tensor, host: Tensor, n: int) -> Tensor:
        """Return a time for n images, (n,), which `on_host` knows."""
        t = t.expand(n)
        self._known[id(t)] = (t, host)  # with t, so that no other tensor gets its id
        return t

    def on_host(self, t: Tensor) -> Tensor:
        """Return the time t (n,), the same for all images, on the CPU, (1,)."""
        known = self._known.get(id(t))
        return t[:1].cpu() if known is None else known[1]

    def host_level(self, t: Tensor) -> Tensor | None:
        """Return sigma / alpha at the time t (n,) on the CPU, (1,); None if t is none of those that `on_host` knows."""
        known = self._known.get(id(t))
        return None if known is None else self.host_schedule.sigma_over_alpha(known[1])

    @cached_property
    def host_times(self) -> Tensor:
        """The times visited, on the CPU."""
        return self.times.cpu()

    @cached_property
    def host_schedule(self) -> Schedule:
        """The schedule on the CPU."""
        return self.schedule if self.times.device.type == "cpu" else copy.deepcopy(self.schedule).cpu()


class Sampler(ABC):
    """Sampler: turns noise into images in `spacing` steps. A new sampler writes `step` only.

    Args:
        spacing: the times to visit.
        clip: bound of the x_0 estimates, 1 for pixels in [-1, 1] as in Ho et al.'s code; or a Clip
            (clipping.py); None for no clipping.
        rederive_eps: after clipping, take eps from the clipped x_0 and x_t, as improved-diffusion does; diffusers keeps
            the network's without `use_clipped_model_output`.

    Attributes:
        needs_ends: True if it takes each estimate of x_0 for the clean end of the probability flow.
    """

    needs_ends = False

    def __init__(self, spacing: Spacing, clip: float | Clip | None = 1.0, rederive_eps: bool = True):
        if not callable(spacing):
            raise UserError(
                f"spacing={spacing!r} must be a spacing of times: inkwash.Trailing({spacing!r}), for example"
            )
        self.spacing, self.clip, self.rederive_eps = spacing, clip_of(clip), rederive_eps

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor, run: Sampling) -> Tensor:
        """Return x_s from x_t (n, C, H, W) for times s < t, (n,); s = 0 in the last step."""

    def check(self, schedule: Schedule) -> None:
        """Raise UserError when it cannot sample on this path: before any image is drawn, or any network trained."""
        self.spacing(schedule)

    def check_estimates(self, posterior_mean: Callable[[], bool]) -> None:
        """Raise UserError when it cannot draw with what a network estimates.

        Args:
            posterior_mean: tells whether that is the mean of x_0, or, as after loss=consistency, where the flow ends.
        """
        if self.needs_ends and posterior_mean():
            raise UserError(
                f"sampler: {type(self).__name__} takes each estimate of x_0 for an image, and this network's are means "
                "of all images that x_t may come from: it is for runs of loss=consistency; choose sampler=ddim, for one"
            )

    @torch.no_grad()
    def __call__(
        self,
        denoiser: nn.Module,
        noise: Callable[[], Tensor],
        y: Tensor | None = None,
        on_step: Callable[[], object] = lambda: None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Sample images x_0 (n, C, H, W) for labels y (n,).

        Args:
            on_step: called after every step.
            watch: called with (x_t, t, x_0) at every estimate, x_0 as clipped.
        """
        schedule: Any = denoiser.schedule

        def denoise(x_t: Tensor, t: Tensor, **told: Tensor) -> Estimate:
            estimate = self.clipped(schedule, of_batch(x_t, t, y, **told), x_t, t)
            if watch is not None:
                watch(x_t, t, estimate.x_0)
            return estimate

        self.check(schedule)
        times = self.spacing(schedule)
        x = schedule.prior_std(float(times[0])) * noise()
        two_times = bool(getattr(denoiser, "two_times", False))
        run = Sampling(schedule, times.to(x.device), denoise, noise, two_times=two_times)
        of_batch = of_a_batch(denoiser, run.host_level)
        each = [run.expanded(t, host[None], len(x)) for t, host in zip(run.times, run.host_times, strict=True)]
        for t, s in pairwise(each):
            x = self.step(x, t, s, run)
            on_step()
        return x

    def clipped(self, schedule: Schedule, estimate: Estimate, x_t: Tensor, t: Tensor) -> Estimate:
        """Bound x_0 of the estimate made at x_t (n, C, H, W), t (n,), and derive eps from it."""
        if self.clip is None:
            return estimate
        x_0, eps = self.clip(estimate.x_0), estimate.eps
        if self.rederive_eps:
            eps = eps_from(schedule, x_0, x_t, t)
        return Estimate(x_0, eps, estimate.v)

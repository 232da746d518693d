"""Guidance: denoisers that extrapolate from a bad estimate beyond a good one."""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.process.forward import eps_from

NO_LABELS = "guidance needs class labels: train with model.num_classes, or sample with guidance=1"
LevelOf = Callable[[Tensor], Tensor | None]


class GuidedDenoiser(nn.Module, ABC):
    """Guided denoiser: bad + scale * (good - bad) for two estimates at the same x_t. A new one writes `pair` only.

    (x_0, eps) are affine in a network's output at fixed x_t, so guiding either guides any prediction. Guidance that is
    not this straight line writes `combined`, too.

    Args:
        denoiser: the good one; it is alone, and called once, at scale 1 and outside the interval.
        scale: 0 for the bad estimate, 1 for the good one; above 1 the images lose variety and gain fidelity.
        interval: guide only where low < sigma / alpha <= high (Kynkäänniemi et al. 2024); None for everywhere.
        rescale: phi, 0 to 1: how far the output's standard deviation is brought back to that of the good one's, which
            large scales exceed (Lin et al. 2023, section 3.4).

    Raises:
        UserError: the interval is not [low, high], or rescale lies outside [0, 1].
    """

    def __init__(
        self, denoiser: nn.Module, scale: float, interval: Sequence[float] | None = None, rescale: float = 0.0
    ):
        super().__init__()
        numbers = isinstance(interval, Sequence) and all(isinstance(end, int | float) for end in interval)
        if interval is not None and not (numbers and len(interval) == 2 and 0 <= interval[0] < interval[1]):
            raise UserError(f"guide.interval={interval} must be [low, high], two values of sigma / alpha, or null")
        if not 0 <= rescale <= 1:
            raise UserError(f"guide.rescale={rescale} must lie between 0 and 1")
        self.denoiser, self.scale, self.rescale = denoiser, scale, rescale
        self.interval = None if interval is None else tuple(interval)
        self.schedule: Any = denoiser.schedule
        self.two_times = bool(getattr(denoiser, "two_times", False))
        self.level_of: LevelOf | None = None
        if self.two_times and "s" not in inspect.signature(self.pair).parameters:
            raise UserError(
                f"guide: {type(self).__name__}.pair has no argument `s` for a network that is told where a step ends: "
                "add it and give it to the denoiser, or pass guidance=1"
            )

    @abstractmethod
    def pair(self, x_t: Tensor, t: Tensor, y: Tensor | None, s: Tensor | None = None) -> tuple[Estimate, Estimate]:
        """Return the good and the bad estimate at x_t (n, C, H, W), t (n,), labels y (n,) or None.

        Args:
            s: the time at which a step ends, (n,), for networks that are told; None for all others.
        """

    def combined(self, good: Estimate, bad: Estimate, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided (x_0, eps), each (n, C, H, W)."""
        x_0, eps = (torch.lerp(b, g, self.scale) for g, b in zip(good, bad, strict=True))
        return x_0, eps

    def of_a_batch(self) -> "GuidedDenoiser":
        """Return the denoiser for the steps of one batch: a copy, with the same networks."""
        return copy.copy(self)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, s: Tensor | None = None) -> Estimate:
        inside, told = self._inside(t), _told(s)
        if self.scale == 1 or not bool(inside.any()):
            return self.denoiser(x_t, t, y, **told)
        good, bad = self.pair(x_t, t, y, **told)
        x_0, eps = self.combined(good, bad, x_t, t)
        if self.rescale > 0:
            x_0, eps = self._rescaled(x_0, eps, good, x_t, t)
        if not bool(inside.all()):
            x_0, eps = (torch.where(inside, new, old) for new, old in zip((x_0, eps), good, strict=True))
        return Estimate(x_0, eps, good.v)  # guidance leaves the variance alone

    def _inside(self, t: Tensor) -> Tensor:
        """Return a mask of the images within the interval, bool (n, 1, 1, 1)."""
        if self.interval is None:
            return torch.ones(len(t), 1, 1, 1, dtype=torch.bool)
        known = None if self.level_of is None else self.level_of(t)
        level, (low, high) = self.schedule.sigma_over_alpha(t) if known is None else known, self.interval
        return ((low < level) & (level <= high)).view(-1, 1, 1, 1)

    def _rescaled(self, x_0: Tensor, eps: Tensor, good: Estimate, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the regressed y by phi std(good) / std(guided) + 1 - phi and solve for (x_0, eps) again."""
        prediction: Any = self.denoiser.prediction
        alpha, sigma = self.schedule(t)
        wanted, guided = (prediction.target(*pair, alpha, sigma) for pair in (good, (x_0, eps)))
        std_good, std_guided = (output.std(dim=(1, 2, 3), keepdim=True) for output in (wanted, guided))
        factor = self.rescale * std_good / std_guided + 1 - self.rescale
        return prediction.decode(factor * guided, x_t, alpha, sigma)


class ClassifierFree(GuidedDenoiser):
    """Guidance away from the denoiser without labels (Ho & Salimans 2022, eq. 6): one call with twice the images.

    In the paper's own count the scale is 1 + w.
    """

    def pair(self, x_t: Tensor, t: Tensor, y: Tensor | None, s: Tensor | None = None) -> tuple[Estimate, Estimate]:
        if y is None:
            raise UserError(NO_LABELS)
        told = _told(None if s is None else torch.cat([s, s]))
        both = torch.cat([y, torch.full_like(y, -1)])
        twice = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both, **told)
        v = (None, None) if twice.v is None else twice.v.chunk(2)
        good, bad = (Estimate(*parts) for parts in zip(twice.x_0.chunk(2), twice.eps.chunk(2), v, strict=True))
        return good, bad


class AdaptiveProjected(ClassifierFree):
    """Classifier-free guidance without the part that saturates images (APG; Sadat et al. 2024, algorithm 1).

    With c and u, the estimates of x_0 with and without labels, for each image:

        D <- c - u + momentum * (D of the evaluation before)
        D <- D * min(1, norm / |D|)
        x_0 = c + (scale - 1) * (D_orthogonal + eta * D_parallel),

    where D_parallel is the part of D along c; eps follows from x_0 and x_t.

    Args:
        denoiser, scale, interval, rescale: see GuidedDenoiser.
        eta: how much of the part along c stays; 1 with momentum=0 and no norm is plain guidance.
        norm: largest Euclidean norm of an image's D; None for any. The paper has 2.5 to 15 for latents of 4 x 64 x 64.
        momentum: negative to weaken a direction that was followed before; 0 for none.

    Raises:
        UserError: eta is negative, norm is not above 0, or momentum is not within (-1, 1).
    """

    def __init__(
        self,
        denoiser: nn.Module,
        scale: float,
        interval: Sequence[float] | None = None,
        rescale: float = 0.0,
        eta: float = 0.0,
        norm: float | None = None,
        momentum: float = -0.5,
    ):
        super().__init__(denoiser, scale, interval, rescale)
        if eta < 0:
            raise UserError(f"guide.eta={eta} must not be negative: 0 leaves out what saturates, 1 keeps it")
        if norm is not None and norm <= 0:
            raise UserError(f"guide.norm={norm} must be above 0, or null for no bound")
        if not -1 < momentum < 1:
            raise UserError(f"guide.momentum={momentum} must lie between -1 and 1: -0.5, for one, or 0 for none")
        self.eta, self.norm, self.momentum = eta, norm, momentum
        self._before: dict[str, Tensor] | None = None  # the last D of a batch; None outside a sampler's loop

    def of_a_batch(self) -> "AdaptiveProjected":
        own = copy.copy(self)
        own._before = {}
        return own

    def combined(self, good: Estimate, bad: Estimate, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        difference = good.x_0 - bad.x_0
        if self._before is not None:
            difference = difference + self.momentum * self._before.get("D", torch.zeros_like(difference))
            self._before["D"] = difference
        if self.norm is not None:
            difference = difference * (self.norm / _norm(difference).clamp_min(self.norm))
        unit = good.x_0 / _norm(good.x_0).clamp_min(torch.finfo(good.x_0.dtype).tiny)
        parallel = (difference * unit).sum(dim=(1, 2, 3), keepdim=True) * unit
        x_0 = good.x_0 + (self.scale - 1) * (difference - (1 - self.eta) * parallel)
        return x_0, eps_from(self.schedule, x_0, x_t, t)


def _norm(images: Tensor) -> Tensor:
    """Return the Euclidean norm of each image, (n, 1, 1, 1)."""
    return images.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


class AutoGuidance(GuidedDenoiser):
    """Guidance away from a worse denoiser of the same task: smaller, or trained for less (Karras et al. 2024).

    Args:
        bad: the worse one, on the same path; it may predict something else.
        denoiser, scale, interval, rescale: see GuidedDenoiser.

    Raises:
        UserError: the two paths differ, or the scale is 1, where the worse one has no effect.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        scale: float,
        bad: nn.Module,
        interval: Sequence[float] | None = None,
        rescale: float = 0.0,
    ):
        super().__init__(denoiser, scale, interval, rescale)
        self.bad = bad
        if scale == 1:
            raise UserError("guide=auto does nothing at guidance=1: pass guidance=2, for one")
        if not _same_path(denoiser.schedule, bad.schedule):
            raise UserError(
                "guide=auto: the worse network was trained on another schedule, so x_t at time t means something else "
                "to it; choose a guide.bad.run with the schedule of this run"
            )
        if self.two_times != bool(getattr(bad, "two_times", False)):
            raise UserError(
                "guide=auto: one of the two networks is told where a step ends and the other is not, so they estimate "
                "different things; choose a guide.bad.run with the loss of this run"
            )

    def pair(self, x_t: Tensor, t: Tensor, y: Tensor | None, s: Tensor | None = None) -> tuple[Estimate, Estimate]:
        return self.denoiser(x_t, t, y, **_told(s)), self.bad(x_t, t, y, **_told(s))


def _told(s: Tensor | None) -> dict[str, Tensor]:
    """Return an argument that most denoisers do not have, if there is something to tell."""
    return {} if s is None else {"s": s}


def _same_path(one: Any, other: Any) -> bool:
    """Return True if two schedules give the same (alpha, sigma) at the same times."""
    if (one.t_min, one.t_max, one.discrete) != (other.t_min, other.t_max, other.discrete):
        return False
    t = torch.linspace(one.t_min, one.t_max, 1001, dtype=torch.float64)
    t = t.round() if one.discrete else t
    return all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(one(t), other(t), strict=True))


def of_a_batch(denoiser: nn.Module, level_of: LevelOf | None = None) -> Any:
    """Return a denoiser for the steps of one batch: a sampler calls this before its first step.

    Args:
        level_of: returns sigma / alpha (1,) on the CPU at a time t (n,) of the sampler's, None at another: by it a
            denoiser decides without waiting for a GPU.
    """
    own: Any = getattr(denoiser, "of_a_batch", lambda: denoiser)()
    if level_of is not None and hasattr(own, "level_of"):
        own.level_of = level_of
    return own

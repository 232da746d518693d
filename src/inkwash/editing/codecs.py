"""Codecs: from images to noise and back."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import q_sample
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler, Watch
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.inversion import invert

Noise = Callable[[], Tensor]  # the next standard normal images (n, C, H, W)


@dataclass(frozen=True)
class Painter:
    """A denoiser, how to sample from it, and what to call after every step and at every estimate (Sampler).

    Attributes:
        size: height and width of the images if the denoiser draws their latents; None if it draws images.
    """

    denoiser: Any
    sampler: Sampler
    on_step: Callable[[], object] = lambda: None
    watch: Watch | None = None
    size: tuple[int, ...] | None = None

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, noise: Noise, y: Tensor | None, sampler: Sampler | None = None) -> Tensor:
        """Sample images (n, C, H, W) for labels y (n,) or None, by its own sampler or another."""
        return (sampler or self.sampler)(self.denoiser, noise, y, self.on_step, self.watch)


class Tail(Spacing):
    """Spacing with the last steps of another: a fraction of them, at least one."""

    def __init__(self, spacing: Spacing, fraction: float):
        super().__init__(spacing.steps)
        self.spacing, self.fraction = spacing, fraction

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        whole = self.spacing(schedule)[:-1]
        return whole[-max(1, round(self.fraction * len(whole))) :]


class Codec(ABC):
    """Codec: takes images x_0 to codes z at a time t and back.

    z is x_t in units of the prior's standard deviation there, as samplers take their noise.

    Args:
        strength: fraction of the sampler's steps that lie between x_0 and z: with spacing=trailing that is t / t_max.
    """

    def __init__(self, strength: float):
        if not 0 < strength <= 1:
            raise UserError(f"task.strength={strength} must lie above 0 and be at most 1")
        self.strength = strength

    @abstractmethod
    def encode(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        """Return codes of images x_0, both (n, C, H, W), labels y (n,) or None."""

    @abstractmethod
    def decode(self, painter: Painter, z: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        """Return images of codes z, both (n, C, H, W)."""

    @abstractmethod
    def between(self, a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
        """Return codes at fractions (n, 1, 1, 1), float64, of the way from a to b (n, C, H, W): a at 0, b at 1."""

    def spacing(self, sampler: Sampler) -> Spacing:
        """Return the sampler's times from t to 0."""
        return Tail(sampler.spacing, self.strength)

    def visible(self, painter: Painter, z: Tensor) -> Tensor:
        """Return x_t of codes z, scaled to the range of images for a grid."""
        t = self.spacing(painter.sampler)(painter.schedule)[:1]
        alpha, sigma = (float(c) for c in painter.schedule(t))
        return z * (painter.schedule.prior_std(float(t)) / (alpha**2 + sigma**2) ** 0.5)


class Noising(Codec):
    """Codec z ~ q(x_t | x_0), decoded by the sampler from t on (Meng et al. 2021, SDEdit; Ho et al. 2020, appendix D).

    At strength 1 nothing of the image is left, not even the alpha_T x_0 of q, and decoding is plain sampling.
    """

    def encode(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        eps = noise()
        if self.strength == 1:
            return eps
        t = self.spacing(painter.sampler)(painter.schedule)[0]
        x_t = q_sample(painter.schedule, x_0, t.to(x_0.device).expand(len(x_0)), eps)
        return x_t / painter.schedule.prior_std(float(t))

    def decode(self, painter: Painter, z: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        part = copy.copy(painter.sampler)
        part.spacing = self.spacing(painter.sampler)
        return painter(_starting_with(z, noise), y, part)

    def between(self, a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
        """Interpolate on the straight line: two codes that share their noise keep its variance there."""
        return torch.lerp(a, b, fraction.to(a))


class Inverting(Codec):
    """Codec z by DDIM inversion, decoded by DDIM without clipping, whatever the sampler (Song et al. 2020, 4.3).

    Nothing is drawn, and a round trip ends near where it began, the nearer the more steps.
    """

    def encode(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        return invert(painter.denoiser, self.spacing(painter.sampler), x_0, y)

    def decode(self, painter: Painter, z: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        return painter(lambda: z, y, DDIM(self.spacing(painter.sampler), clip=None))

    def between(self, a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
        """Interpolate on the great circle, where independent normal codes keep their length (Song et al. 2020, 5.3)."""
        angle = F.cosine_similarity(a.flatten(1), b.flatten(1)).double().clamp(-1, 1).acos().view(-1, 1, 1, 1)
        parallel = angle < 1e-4  # there the circle is a line
        of_a, of_b = (
            torch.where(parallel, part, torch.sin(part * angle) / torch.sin(angle)) for part in (1 - fraction, fraction)
        )
        return of_a.to(a) * a + of_b.to(a) * b


def _starting_with(z: Tensor, noise: Noise) -> Noise:
    """Return noise whose first draw is z."""

    def draws() -> Iterator[Tensor]:
        yield z
        while True:
            yield noise()

    stream = draws()
    return lambda: next(stream)

"""Clipping: keep estimates of x_0 in the range of images."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError


class Clip(ABC):
    """Map from estimates of x_0 (n, C, H, W) to bounded ones."""

    @abstractmethod
    def __call__(self, x_0: Tensor) -> Tensor:
        """Return the bounded estimates, (n, C, H, W)."""


class StaticClip(Clip):
    """Clip to [-bound, bound], as in Ho et al.'s code; `sampler.clip=1.0` is short for it."""

    def __init__(self, bound: float = 1.0):
        if not bound > 0:
            raise UserError(f"sampler.clip={bound:g} must be positive, or null for no clipping")
        self.bound = bound

    def __call__(self, x_0: Tensor) -> Tensor:
        return x_0.clamp(-self.bound, self.bound)


class DynamicThreshold(Clip):
    """Clip to [-s, s] and divide by s, the larger of 1 and a quantile of an image's own |x_0|.

    Strong guidance drives pixels beyond 1; here they are pulled inwards together instead of piling up at the bound.

    Args:
        quantile: fraction of an image's C * H * W values that lie within s.

    Source: Saharia et al. 2022 (Imagen), section 2.3.
    """

    def __init__(self, quantile: float = 0.995):
        if not 0 < quantile <= 1:
            raise UserError(f"sampler.clip.quantile={quantile} must lie above 0 and be at most 1")
        self.quantile = quantile

    def __call__(self, x_0: Tensor) -> Tensor:
        s = torch.quantile(x_0.abs().flatten(1), self.quantile, dim=1).clamp(min=1).view(-1, 1, 1, 1)
        return x_0.clamp(-s, s) / s


def clip_of(value: float | Clip | None) -> Clip | None:
    """Return the Clip that sampler.clip means: a bound, a Clip, or None for no clipping."""
    if isinstance(value, int | float):
        return StaticClip(value)
    if value is None or isinstance(value, Clip):
        return value
    raise UserError(f"sampler.clip={value} must be a number, null, or a class of inkwash.samplers.clipping")

"""Distances between a prediction and its target, element by element."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from inkwash.errors import UserError


class Distance(ABC):
    """Distance of a prediction from its target, element by element."""

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        """Return the distances (n, C, H, W) of two such; sigma_over_alpha (n, 1, 1, 1)."""


class L2(Distance):
    """(prediction - target)^2 (Ho et al. 2020, eq. 14)."""

    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        return F.mse_loss(prediction, target, reduction="none")


class L1(Distance):
    """|prediction - target| (Saharia et al. 2021, Palette)."""

    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        return F.l1_loss(prediction, target, reduction="none")


class Huber(Distance):
    """d^2 / 2 for |d| < delta, delta * (|d| - delta / 2) beyond."""

    def __init__(self, delta: float = 1.0):
        if delta <= 0:
            raise UserError(f"loss.distance.delta={delta} must be positive")
        self.delta = delta

    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        return F.huber_loss(prediction, target, reduction="none", delta=self.delta)


class PseudoHuber(Distance):
    """2 c (sqrt(d^2 + c^2) - c), about d^2 for small d, with c falling as noise grows (Khrapov et al. 2024).

    c(t) = c + (1 - c) / (1 + sigma / alpha)^2, the paper's SNR schedule: near the data it is the L2 loss, in noise,
    where outliers mislead, closer to 2 c |d|.

    Args:
        c: at pure noise.
        scheduled: False keeps c everywhere.
    """

    def __init__(self, c: float = 0.1, scheduled: bool = True):
        if not 0 < c <= 1:
            raise UserError(f"loss.distance.c={c} must lie between 0 and 1")
        self.c, self.scheduled = c, scheduled

    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        if self.scheduled:
            c = self.c + (1 - self.c) / (1 + sigma_over_alpha) ** 2
        else:
            c = torch.full_like(sigma_over_alpha, self.c)
        c, d = c.to(prediction.dtype), prediction - target
        # As written above this cancels to nothing where d is small against c.
        return 2 * c * d**2 / ((d**2 + c**2).sqrt() + c)


class L2AndDirection(Distance):
    """(prediction - target)^2 + weight (1 - cos), cos the cosine of the two's channels at each place of the image.

    LightningDiT's loss of the velocity (Yao & Wang 2025; the published code): what points elsewhere costs, where it is
    small, too. The second term is the same for every channel, so that the mean over all values is that over places.

    Args:
        weight: of the second term; 1 in the published code.
    """

    def __init__(self, weight: float = 1.0):
        if weight <= 0:
            raise UserError(f"loss.distance.weight={weight} must be positive: L2 is without it")
        self.weight = weight

    def __call__(self, prediction: Tensor, target: Tensor, sigma_over_alpha: Tensor) -> Tensor:
        square = F.mse_loss(prediction, target, reduction="none")
        # In the precision of the target: 8 bits of a cosine near 1 leave nothing of 1 - cos.
        cosine = F.cosine_similarity(prediction.to(target.dtype), target, dim=1).unsqueeze(1)
        return square + self.weight * (1 - cosine)

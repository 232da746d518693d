"""The training objective: one Monte-Carlo term for each image (Ho et al. 2020, Algorithm 1)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.forward import mix
from inkwash.process.times import Times
from inkwash.process.weightings import Weighting
from inkwash.random import Draws


class Distance(ABC):
    """How far a prediction is from its target, element by element."""

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor: ...


class L2(Distance):
    """(prediction - target)^2 (Ho et al. 2020, eq. 14)."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction, target, reduction="none")


class L1(Distance):
    """|prediction - target| (Saharia et al. 2021, Palette)."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(prediction, target, reduction="none")


class Huber(Distance):
    """d^2 / 2 for |d| < delta, delta * (|d| - delta / 2) beyond."""

    def __init__(self, delta: float = 1.0):
        if delta <= 0:
            raise UserError(f"loss.distance.delta={delta} must be positive")
        self.delta = delta

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(prediction, target, reduction="none", delta=self.delta)


@dataclass
class LossTerms:
    """What the loss drew and found: `loss` and `t`, both (n,)."""

    loss: Tensor
    t: Tensor


class DiffusionLoss:
    """w(t) * mean over pixels of distance(network(x_t, t), y).

    Args:
        distance: L2, L1 or Huber.
        weighting: the weight of each noise level.
        times: the distribution of t.
        label_dropout: share of labels hidden from the network, so that it also learns to do without
            (Ho & Salimans 2022, Algorithm 1).
    """

    def __init__(self, distance: Distance, weighting: Weighting, times: Times, label_dropout: float = 0.1):
        if not 0 <= label_dropout <= 1:
            raise UserError(f"loss.label_dropout={label_dropout} must lie between 0 and 1")
        self.distance, self.weighting, self.times, self.label_dropout = distance, weighting, times, label_dropout

    def __call__(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None, draws: Draws) -> LossTerms:
        """The loss of images x_0 (n, C, H, W) with labels y (n,) or None."""
        n = len(x_0)
        t = self.times(denoiser.schedule, n, draws)
        eps = draws.normal(*x_0.shape)
        if y is not None:
            y = torch.where(draws.uniform(n) < self.label_dropout, -1, y)
        alpha, sigma = denoiser.schedule(t)
        target = denoiser.prediction.target(x_0, eps, alpha, sigma)
        prediction, _ = denoiser.predict(mix(alpha, x_0, sigma, eps), t, y)
        weight = self.weighting(alpha, sigma, denoiser.prediction.det(alpha, sigma))
        # float32 whatever the network computed in: bf16 keeps 8 bits of a sum over thousands of pixels.
        return LossTerms(self.distance(prediction, target).float().mean(dim=(1, 2, 3)) * weight.float().flatten(), t)

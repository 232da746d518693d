"""Base of training objectives: one Monte Carlo term for each image (Ho et al. 2020, Algorithm 1)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.schedules import Schedule
from inkwash.process.times import Times
from inkwash.process.weightings import Uniform, Weighting
from inkwash.random import Draws


@dataclass
class LossTerms:
    """Loss of a batch, image by image, with the times drawn.

    Attributes:
        loss: (n,), whose mean is minimised.
        t: (n,), the times.
        raw: (n,), the loss before it makes up for how often t is drawn.
    """

    loss: Tensor
    t: Tensor
    raw: Tensor


class Loss(nn.Module, ABC):
    """Training objective: draws times and noise, and takes one term of each image. A new one writes `objective`.

    Args:
        times: the distribution of t.
        label_dropout: fraction of labels hidden from the network, so that it also learns to do without
            (Ho & Salimans 2022, Algorithm 1).

    Attributes:
        learns_variance: True if it trains the second head of a network (model.learn_variance).
        tunes: True if it goes on from what a network was trained for, so that init_from must have the same path.
        two_times: True if it trains a network that is told where steps end (model.two_times).
        posterior_mean: True if the network's estimate of x_0 becomes E[x_0 | x_t], from which a likelihood follows.
    """

    learns_variance = False
    tunes = False
    two_times = False
    posterior_mean = True

    def __init__(self, times: Times, label_dropout: float = 0.1):
        super().__init__()
        if not 0 <= label_dropout <= 1:
            raise UserError(f"loss.label_dropout={label_dropout} must lie between 0 and 1")
        self.times, self.label_dropout = times, label_dropout

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        """Raise UserError if this loss cannot train the denoiser; learn_variance says if its network has that head."""
        if learn_variance and not self.learns_variance:
            raise UserError(
                "model.learn_variance=true needs a loss that trains the variance: loss=hybrid, or loss=vlb with "
                "loss.variance._target_=inkwash.process.variances.LearnedRange"
            )

        if denoiser.two_times and not self.two_times:
            raise UserError(
                "model.two_times=true needs a loss that tells the network where steps end, or it learns nothing of it: "
                "loss=meanflow or loss=shortcut; or pass model.two_times=false"
            )

    def at_step(self, step: int) -> None:
        """Note the number of optimizer steps made so far, before each of them: for a loss that changes with it."""

    def forward(
        self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None, draws: Draws, augment: Tensor | None = None
    ) -> LossTerms:
        """Return the loss of images x_0 (n, C, H, W) with labels y (n,) or None (Ho et al. 2020, Algorithm 1).

        Args:
            augment: what was done to the images, (n, k), for the network; None for nothing (data/augment.py).
        """
        n, schedule = len(x_0), denoiser.schedule
        t, ends = self.ends(schedule, self.times(schedule, n, draws), draws)
        eps = draws.normal(*x_0.shape)
        if y is not None:
            y = torch.where(draws.uniform(n) < self.label_dropout, -1, y)
        told = ends if augment is None else {**ends, "augment": augment}  # which a loss of the user's may not have
        loss = self.objective(denoiser, x_0, eps, t, y, **told)
        weight = self.times.weight(schedule, t)
        return LossTerms(loss if weight is None else loss * weight.to(loss), t, loss.detach())

    def ends(self, schedule: Schedule, t: Tensor, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the times t (n,), and what else `objective` is given by name: nothing, where there are no steps."""
        return t, {}

    @abstractmethod
    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Return one float32 term for each image, (n,), at times t and noise eps; `augment` goes to the network."""


def refuse_weighting(weighting: Weighting | None, reason: str) -> None:
    """Raise UserError unless a configuration's weighting is uniform, for a loss that has a weight of its own."""
    if not (weighting is None or isinstance(weighting, Uniform)):
        raise UserError(
            f"{reason} and has no use for weighting={type(weighting).__name__} beside it: pass weighting=uniform"
        )

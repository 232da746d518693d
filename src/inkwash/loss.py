"""The training objective: one Monte-Carlo term for each image (Ho et al. 2020, Algorithm 1)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.denoiser import Denoiser, Estimate, check_size
from inkwash.errors import UserError
from inkwash.likelihood.bound import VariationalBound
from inkwash.process.forward import mix, q_sample
from inkwash.process.times import Times
from inkwash.process.variances import LearnedRange, Variance
from inkwash.process.weightings import Uniform, Weighting
from inkwash.random import Draws


class Distance(ABC):
    """How far a prediction is from its target, element by element."""

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor, ratio: Tensor) -> Tensor:
        """(n, C, H, W) from two such; ratio is sigma / alpha, (n, 1, 1, 1)."""


class L2(Distance):
    """(prediction - target)^2 (Ho et al. 2020, eq. 14)."""

    def __call__(self, prediction: Tensor, target: Tensor, ratio: Tensor) -> Tensor:
        return F.mse_loss(prediction, target, reduction="none")


class L1(Distance):
    """|prediction - target| (Saharia et al. 2021, Palette)."""

    def __call__(self, prediction: Tensor, target: Tensor, ratio: Tensor) -> Tensor:
        return F.l1_loss(prediction, target, reduction="none")


class Huber(Distance):
    """d^2 / 2 for |d| < delta, delta * (|d| - delta / 2) beyond."""

    def __init__(self, delta: float = 1.0):
        if delta <= 0:
            raise UserError(f"loss.distance.delta={delta} must be positive")
        self.delta = delta

    def __call__(self, prediction: Tensor, target: Tensor, ratio: Tensor) -> Tensor:
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

    def __call__(self, prediction: Tensor, target: Tensor, ratio: Tensor) -> Tensor:
        c = self.c + (1 - self.c) / (1 + ratio) ** 2 if self.scheduled else torch.full_like(ratio, self.c)
        c, d = c.to(prediction.dtype), prediction - target
        # As written above this cancels to nothing where d is small against c.
        return 2 * c * d**2 / ((d**2 + c**2).sqrt() + c)


@dataclass
class LossTerms:
    """What the loss drew and found.

    Attributes:
        loss: (n,), whose mean is minimised.
        t: (n,), the times.
        raw: (n,), the loss before it makes up for how often t is drawn.
    """

    loss: Tensor
    t: Tensor
    raw: Tensor


class Loss(nn.Module, ABC):
    """Draws times and noise, and asks for one term of each image. A new objective writes `objective` only.

    Args:
        times: the distribution of t.
        label_dropout: share of labels hidden from the network, so that it also learns to do without
            (Ho & Salimans 2022, Algorithm 1).

    Attributes:
        learns_variance: whether it trains the second head of a network (model.learn_variance).
    """

    learns_variance = False

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

    def forward(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None, draws: Draws) -> LossTerms:
        """The loss of images x_0 (n, C, H, W) with labels y (n,) or None."""
        n, schedule = len(x_0), denoiser.schedule
        t = self.times(schedule, n, draws)
        eps = draws.normal(*x_0.shape)
        if y is not None:
            y = torch.where(draws.uniform(n) < self.label_dropout, -1, y)
        loss = self.objective(denoiser, x_0, eps, t, y)
        weight = self.times.weight(schedule, t)
        return LossTerms(loss if weight is None else loss * weight.to(loss), t, loss.detach())

    @abstractmethod
    def objective(self, denoiser: Denoiser, x_0: Tensor, eps: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """One float32 term for each image, (n,), at times t and noise eps."""


class DiffusionLoss(Loss):
    """w(t) * mean over pixels of distance(network(x_t, t), y).

    Args:
        distance: L2, L1, Huber or PseudoHuber.
        weighting: the weight of each noise level.
        times, label_dropout: see Loss.
    """

    def __init__(self, distance: Distance, weighting: Weighting, times: Times, label_dropout: float = 0.1):
        super().__init__(times, label_dropout)
        self.distance, self.weighting = distance, weighting

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        super().check(denoiser, learn_variance)
        if isinstance(self.weighting, Uniform):
            check_size(denoiser)

    def objective(self, denoiser: Denoiser, x_0: Tensor, eps: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        alpha, sigma = denoiser.schedule(t)
        prediction, _ = denoiser.predict(mix(alpha, x_0, sigma, eps), t, y)
        return self.weighted(denoiser, prediction, x_0, eps, alpha, sigma)

    def weighted(
        self, denoiser: Denoiser, prediction: Tensor, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
    ) -> Tensor:
        target = denoiser.prediction.target(x_0, eps, alpha, sigma)
        # float32 whatever the network computed in: bf16 keeps 8 bits of a sum over thousands of pixels.
        error = self.distance(prediction, target, sigma / alpha).float().mean(dim=(1, 2, 3))
        return self.weighting.weigh(error, alpha, sigma, denoiser.prediction.det(alpha, sigma))


class VLBLoss(Loss):
    """T times the term L_{t-1} of the variational bound, L_0 at t = 1: bits per dimension (Ho et al. 2020, eq. 5).

    Args:
        variance: of the reverse step; LearnedRange trains model.learn_variance's head.
        times: uniform or stratified, or importance, which tames the gradient's noise (Nichol & Dhariwal 2021, section
            3.3) and makes up for what it does to the mean.
        label_dropout: see Loss.
        weighting: that of the configuration, uniform: the bound weights its terms itself.
    """

    def __init__(
        self, variance: Variance, times: Times, label_dropout: float = 0.1, weighting: Weighting | None = None
    ):
        super().__init__(times, label_dropout)
        if not (weighting is None or isinstance(weighting, Uniform)):
            raise UserError(
                f"loss=vlb weights its terms as the bound does and has no use for weighting={type(weighting).__name__} "
                "beside it: pass weighting=uniform"
            )
        if not times.keeps_mean:
            raise UserError(
                f"loss=vlb is a mean over uniform times, which times={type(times).__name__} would make another: "
                "pass times=uniform, stratified or importance"
            )
        self.bound, self.learns_variance = VariationalBound(variance), variance.learned

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        self.bound.check(denoiser.schedule)
        super().check(denoiser, learn_variance)
        if self.learns_variance and not learn_variance:
            raise UserError(
                "loss: LearnedRange needs a network that learns the variance: pass model.learn_variance=true"
            )

    def objective(self, denoiser: Denoiser, x_0: Tensor, eps: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        estimate = denoiser(q_sample(denoiser.schedule, x_0, t, eps), t, y)
        return (self.bound.term(denoiser.schedule, x_0, t, estimate) * denoiser.schedule.t_max).float()


class HybridLoss(DiffusionLoss):
    """The simple loss plus vlb_weight * L_vlb, which trains the variance alone (Nichol & Dhariwal 2021, eq. 16).

    Args:
        vlb_weight: of T times a term in bits per dimension; 0.001 in the paper, T / 1000 times a term.
        distance, weighting, times, label_dropout: see DiffusionLoss.
    """

    learns_variance = True

    def __init__(
        self,
        distance: Distance,
        weighting: Weighting,
        times: Times,
        label_dropout: float = 0.1,
        vlb_weight: float = 0.001,
    ):
        super().__init__(distance, weighting, times, label_dropout)
        if vlb_weight <= 0:
            raise UserError(f"loss.vlb_weight={vlb_weight} must be positive")
        self.bound, self.vlb_weight = VariationalBound(LearnedRange()), vlb_weight

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        self.bound.check(denoiser.schedule)
        if not learn_variance:
            raise UserError("loss=hybrid trains the reverse step's variance: pass model.learn_variance=true")

    def objective(self, denoiser: Denoiser, x_0: Tensor, eps: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        schedule, (alpha, sigma) = denoiser.schedule, denoiser.schedule(t)
        x_t = mix(alpha, x_0, sigma, eps)
        prediction, share = denoiser.predict(x_t, t, y)
        # The bound may move the variance only: its gradient in the mean is what the simple loss improves upon.
        estimate = Estimate(*denoiser.prediction.decode(prediction.detach(), x_t, alpha, sigma), share)
        vlb = self.bound.term(schedule, x_0, t, estimate).float() * schedule.t_max
        return self.weighted(denoiser, prediction, x_0, eps, alpha, sigma) + self.vlb_weight * vlb

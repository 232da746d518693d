"""Variational bound as a loss, alone and beside the simple loss."""

from torch import Tensor

from inkwash.denoiser import Denoiser, Estimate
from inkwash.errors import UserError
from inkwash.likelihood.bound import VariationalBound
from inkwash.losses.base import Loss, refuse_weighting
from inkwash.losses.distances import Distance
from inkwash.losses.simple import DiffusionLoss
from inkwash.process.forward import q_sample
from inkwash.process.times import Times
from inkwash.process.variances import LearnedRange, Variance
from inkwash.process.weightings import Weighting


class VLBLoss(Loss):
    """Loss of T times the bound's term L_{t-1}, L_0 at t = 1: bits per dimension (Ho et al. 2020, eq. 5).

    Args:
        variance: of the reverse step; LearnedRange trains model.learn_variance's head.
        times: uniform or stratified, or importance, which tames the gradient's noise (Nichol & Dhariwal 2021, section
            3.3) and makes up for what it does to the mean.
        label_dropout: see Loss.
        weighting: the configuration's, refused unless it is uniform: the bound weights its terms itself.
    """

    def __init__(
        self, variance: Variance, times: Times, label_dropout: float = 0.1, weighting: Weighting | None = None
    ):
        super().__init__(times, label_dropout)
        refuse_weighting(weighting, "loss=vlb weights its terms as the bound does")
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

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        estimate = denoiser(q_sample(denoiser.schedule, x_0, t, eps), t, y, augment)
        return (self.bound.term(denoiser.schedule, x_0, t, estimate) * denoiser.schedule.t_max).float()


class HybridLoss(DiffusionLoss):
    """Hybrid loss: simple + vlb_weight * L_vlb, which trains the variance alone (Nichol & Dhariwal 2021, eq. 16).

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
        Loss.check(self, denoiser, learn_variance)
        if not learn_variance:
            raise UserError("loss=hybrid trains the reverse step's variance: pass model.learn_variance=true")

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        schedule = denoiser.schedule
        x_t = q_sample(schedule, x_0, t, eps)
        prediction, v = denoiser.predict(x_t, t, y, augment)
        # The bound may move the variance only: its gradient in the mean is what the simple loss improves upon.
        estimate = Estimate(*denoiser.prediction.decode(prediction.detach(), x_t, *schedule(t)), v)
        vlb = self.bound.term(schedule, x_0, t, estimate).float() * schedule.t_max
        return self.weighted(denoiser, prediction, x_0, eps, t) + self.vlb_weight * vlb

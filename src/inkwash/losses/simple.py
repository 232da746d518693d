"""Simple loss (Ho et al. 2020, eq. 14) with any distance and weighting."""

from torch import Tensor

from inkwash.denoiser import Denoiser, check_size
from inkwash.losses.base import Loss
from inkwash.losses.distances import Distance
from inkwash.process.forward import q_sample
from inkwash.process.times import Times
from inkwash.process.weightings import Uniform, Weighting


class DiffusionLoss(Loss):
    """Simple loss: w(t) * mean over pixels of distance(network(x_t, t), y).

    Args:
        distance: L2, L1, Huber, PseudoHuber or L2AndDirection.
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

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        prediction, _ = denoiser.predict(q_sample(denoiser.schedule, x_0, t, eps), t, y, augment)
        return self.weighted(denoiser, prediction, x_0, eps, t)

    def weighted(self, denoiser: Denoiser, prediction: Tensor, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return the weighted distance of a prediction (n, C, H, W) from its target, (n,), float32."""
        alpha, sigma = denoiser.schedule(t)
        target = denoiser.prediction.target(x_0, eps, alpha, sigma)
        # float32 whatever the network computed in: bf16 keeps 8 bits of a sum over thousands of pixels.
        error = self.distance(prediction, target, sigma / alpha).float().mean(dim=(1, 2, 3))
        return self.weighting.weigh(error, alpha, sigma, denoiser.prediction.det(alpha, sigma))

"""Mean and covariance of features, from sums over batches and ranks."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from inkwash.dtypes import KeepDtype
from inkwash.errors import UserError


class Moments(NamedTuple):
    """Number, mean and covariance of features: float64, on the CPU if the device has no float64."""

    n: int  # 0 if a file does not say
    mean: Tensor  # (d,)
    covariance: Tensor  # (d, d), unbiased: divided by n - 1


def as_float64(x: Tensor) -> Tensor:
    """Convert to float64, on the CPU if the device has no float64 (MPS)."""
    return x.to("cpu" if x.device.type == "mps" else x.device).double()


def check_finite(features: Tensor) -> None:
    """Raise UserError, with their count, for features (B, d) that are not finite."""
    if bad := len(features) - int(features.isfinite().all(dim=1).sum()):
        raise UserError(
            f"{bad} of {len(features)} feature vectors are not finite, so no metric of them means anything: "
            "look for NaN in the images (training diverged?) or in the extractor's weights"
        )


class ExactStates(KeepDtype, Metric):
    """A metric whose states move with it but keep their dtype."""

    cpu_for_mps = True
    full_state_update = False
    is_differentiable = False


class FeatureSums(ExactStates):
    """n, sum x and sum x x^T of feature vectors, float64: their sums over ranks are those of one process.

    Args:
        dim: length d of a feature vector; None to call `allocate` later.
    """

    n: Tensor
    total: Tensor
    outer: Tensor

    def __init__(self, dim: int | None = None):
        super().__init__()
        if dim is not None:
            self.allocate(dim)

    def allocate(self, dim: int) -> None:
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outer", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Add features (B, d). Raises UserError, adding none of them, if some are not finite."""
        x = features.detach().to(self.total.device).double()
        total = x.sum(dim=0)
        if not total.isfinite().all():  # NaN and infinity survive a sum, which is needed anyway
            check_finite(features)
        self.n += len(x)
        self.total += total
        self.outer.addmm_(x.T, x)

    def moments(self) -> Moments:
        """Return the moments of this process's sums, or of all ranks' while torchmetrics has them synchronised.

        Raises UserError for fewer than 2 vectors, which have no covariance.
        """
        n = int(self.n)
        if n < 2:
            raise UserError(
                f"a Frechet distance needs at least 2 images on each side, got {n}: pass num_images=2 or more"
            )
        mean = self.total / n
        return Moments(n, mean, (self.outer - n * torch.outer(mean, mean)) / (n - 1))


class FeatureStatistics(FeatureSums):
    """Streaming mean and covariance of features: `update(features (B, d))`, `compute() -> Moments`."""

    def compute(self) -> Moments:
        return self.moments()

"""The Frechet distance between Gaussians fitted to two sets of features, from sums that add up over ranks."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from inkwash.errors import UserError


class Moments(NamedTuple):
    """What the distance needs to know of a set of features: float64, on the CPU where the device has no float64."""

    n: int
    mean: Tensor  # (d,)
    covariance: Tensor  # (d, d), unbiased: divided by n - 1


def frechet_distance(mu_1: Tensor, cov_1: Tensor, mu_2: Tensor, cov_2: Tensor) -> float:
    """||mu_1 - mu_2||^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2)), in float64, at least 0.

    With C_1 = L L^T the eigenvalues of C_1 C_2 are those of the symmetric L^T C_2 L, so no matrix square root and no
    complex number appears.

    Args:
        mu_1, mu_2: means (d,).
        cov_1, cov_2: covariances (d, d), possibly singular.

    Source: Heusel et al. 2017 (the FID), eq. 6, after Dowson and Landau 1982.
    """
    mu_1, cov_1, mu_2, cov_2 = (_float64(x) for x in (mu_1, cov_1, mu_2, cov_2))
    L = _factor(cov_1)
    eigenvalues = torch.linalg.eigvalsh(L.T @ cov_2 @ L)
    trace_sqrt = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (mu_1 - mu_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * trace_sqrt
    return max(distance.item(), 0.0)  # equal sets come out at about -1e-12


def _factor(cov: Tensor) -> Tensor:
    """L (d, r) with L L^T = C; r < d when C is singular, as it is with fewer samples than dimensions."""
    L, failed = torch.linalg.cholesky_ex(cov)
    if not failed:
        return L
    eigenvalues, V = torch.linalg.eigh(cov)
    # Rounding leaves about 1e-16 of the largest in place of a zero, and hundreds of roots of those would add up.
    kept = eigenvalues > len(cov) * torch.finfo(cov.dtype).eps * eigenvalues[-1]
    return V[:, kept] * eigenvalues[kept].sqrt()


def _float64(x: Tensor) -> Tensor:
    return x.to("cpu" if x.device.type == "mps" else x.device).double()


class FeatureSums(Metric):
    """n, sum x and sum x x^T of feature vectors, float64: sums over ranks are exact however many updates each made."""

    full_state_update = False
    is_differentiable = False
    n: Tensor
    total: Tensor
    outer: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outer", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Add features (B, d). Raises UserError, adding none of them, when some are not finite."""
        bad = len(features) - int(features.isfinite().all(dim=1).sum())
        if bad:
            raise UserError(
                f"{bad} of {len(features)} feature vectors are not finite, so their Frechet distance means nothing: "
                "look for NaN in the images (training diverged?) or in the extractor's weights"
            )
        x = features.detach().to(self.total.device).double()
        self.n += len(x)
        self.total += x.sum(dim=0)
        self.outer.addmm_(x.T, x)

    def moments(self) -> Moments:
        """The moments of this process's sums, or of all ranks' while torchmetrics has them synchronised.

        Raises UserError for fewer than 2 vectors, which have no covariance.
        """
        n = int(self.n)
        if n < 2:
            raise UserError(f"a Frechet distance needs at least 2 images on each side, got {n}: ask for more")
        mean = self.total / n
        return Moments(n, mean, (self.outer - n * torch.outer(mean, mean)) / (n - 1))

    def _apply(self, fn, exclude_state=""):
        # Moves, never casts: `.to(bfloat16)` of a precision plugin would ruin the sums, and MPS has no float64.
        def move(state: Tensor) -> Tensor:
            device = fn(torch.empty(0, device=state.device)).device
            return state.to("cpu" if device.type == "mps" else device)

        return super()._apply(move, exclude_state)


class FeatureStatistics(FeatureSums):
    """Streaming mean and covariance of features: `update(features (B, d))`, `compute() -> Moments`."""

    def compute(self) -> Moments:
        return self.moments()


class FrechetDistance(FeatureSums):
    """Frechet distance of generated images to a reference: `update(features (B, d))`, `compute() -> float`.

    It takes features, not images, so that one pass of the extractor feeds every metric of an evaluation, and so that
    no extractor ends up inside a checkpoint.

    Args:
        reference: moments of the real images, the same on every rank, from `reference_statistics`.
    """

    higher_is_better = False

    def __init__(self, reference: Moments):
        super().__init__(len(reference.mean))
        self.reference = reference

    def compute(self) -> float:
        fake = self.moments()
        mu, cov = (x.to(fake.mean.device) for x in (self.reference.mean, self.reference.covariance))
        return frechet_distance(fake.mean, fake.covariance, mu, cov)

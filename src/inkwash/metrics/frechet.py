"""Frechet distance between Gaussians with the moments of two sets of features."""

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.base import Counts, Measure, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.moments import FeatureSums, Moments, as_float64


def frechet_distance(mu_1: Tensor, cov_1: Tensor, mu_2: Tensor, cov_2: Tensor) -> float:
    """Return ||mu_1 - mu_2||^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2)), in float64, at least 0.

    With C_1 = L L^T the eigenvalues of C_1 C_2 are those of the symmetric L^T C_2 L, so no matrix square root and no
    complex number appears.

    Args:
        mu_1, mu_2: means (d,).
        cov_1, cov_2: covariances (d, d), possibly singular.

    Raises:
        UserError: one of them is not finite.

    Source: Heusel et al. 2017 (the FID), eq. 6, after Dowson and Landau 1982.
    """
    mu_1, cov_1, mu_2, cov_2 = (as_float64(x) for x in (mu_1, cov_1, mu_2, cov_2))
    if not all(x.isfinite().all() for x in (mu_1, cov_1, mu_2, cov_2)):
        raise UserError(
            "a Frechet distance needs finite means and covariances: look for NaN in reference_file and in the images"
        )
    L, C = _root_of_one(mu_1, cov_1, mu_2, cov_2)
    eigenvalues = torch.linalg.eigvalsh(L.T @ C @ L)
    trace_sqrt = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (mu_1 - mu_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * trace_sqrt
    return max(distance.item(), 0.0)  # equal sets come out at about -1e-12


def _root_of_one(mu_1: Tensor, cov_1: Tensor, mu_2: Tensor, cov_2: Tensor) -> tuple[Tensor, Tensor]:
    """Return a factor L of one covariance, L L^T, and the other one: L of the one of lower rank if one is singular.

    L^T C L then has no eigenvalue that should be 0: rounding leaves about 1e-16 of the largest there, and hundreds of
    roots of that would add up. Cholesky breaks down at about one more than the rank.
    """
    (L_1, rank_1), (_, rank_2) = torch.linalg.cholesky_ex(cov_1), torch.linalg.cholesky_ex(cov_2)
    if rank_1 == rank_2 == 0:
        return L_1, cov_2
    if rank_2 == 0 or 0 < rank_1 <= rank_2:
        return _thin_root(mu_1, cov_1), cov_2
    return _thin_root(mu_2, cov_2), cov_1


def root(mu: Tensor, cov: Tensor) -> Tensor:
    """Return L (d, r) with L L^T = C; r < d if C is singular, as it is with fewer samples than dimensions."""
    L, failed = torch.linalg.cholesky_ex(cov)
    return _thin_root(mu, cov) if failed else L


def _thin_root(mu: Tensor, cov: Tensor) -> Tensor:
    eigenvalues, V = torch.linalg.eigh(cov)
    # The covariance was the difference of sums as large as mu^2, so where zeros should be there is their rounding.
    rounding = len(cov) * torch.finfo(cov.dtype).eps * (eigenvalues[-1] + mu.square().sum())
    positive = eigenvalues > rounding
    return V[:, positive] * eigenvalues[positive].sqrt()


class FrechetDistance(Measure, FeatureSums):
    """Frechet distance of generated images to a reference: `update(features (B, d))`, `compute() -> float`.

    It takes features, not images, so that one pass of the extractor feeds every metric of an evaluation, and so that
    no extractor ends up inside a checkpoint. Its memory does not grow with the number of images.

    Args:
        reference: moments of the real images, the same on every rank; None if a Suite brings them.
    """

    keys = ("fd",)
    lower_is_better = True

    def __init__(self, reference: Moments | None = None):
        super().__init__()
        if reference is not None:
            self._expect(reference)

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        check_moments(self.title, counts)

    def prepare(self, real: RealImages, num_images: int) -> None:
        self._expect(self.moments_of(real))

    def compute(self) -> float:
        fake = self.moments()
        self.n_fake = fake.n
        mu, cov = (x.to(fake.mean.device) for x in (self.reference.mean, self.reference.covariance))
        return frechet_distance(fake.mean, fake.covariance, mu, cov)

    def notes(self) -> list[str]:
        sides = {"generated": self.n_fake, "real": self.reference.n}
        return [note for side, n in sides.items() if (note := rank_note(n, len(self.reference.mean), side))]

    def _expect(self, reference: Moments) -> None:
        self.reference = reference
        self.allocate(len(reference.mean))


def check_moments(title: str, counts: Counts, generated: int = 2) -> None:
    """Raise NotApplicableError unless both sides have a covariance: of 2 images or more, or from a file."""
    counts.need(title, generated=generated, real=0 if counts.from_file else 2)


def rank_note(n: int, dim: int, side: str) -> str | None:
    """Return a note on a covariance of too few images for full rank, else None; n = 0 is unknown."""
    if not 0 < n <= dim:
        return None
    return (
        f"{n} {side} images give {dim} dimensions a covariance of rank {n - 1} at most: the distance is mostly the "
        "bias of so few, and only values with the same numbers of images compare"
    )

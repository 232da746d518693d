"""Frechet distances of many resamples or subsets of the same images to one reference."""

import torch
from torch import Tensor

from inkwash.metrics.frechet import root
from inkwash.metrics.moments import Moments, as_float64


class Reweighted:
    """Frechet distance of a multiset of images: `distance(weights)`, where image i occurs weights[i] times.

    With C = L L^T the reference's covariance, tr((C_w C)^(1/2)) is the sum of the roots of the eigenvalues of
    L^T C_w L, which is the covariance of L^T x. So the features are mapped once, and each weighting costs one product.

    Args:
        features: (n, d).
        reference: of the real images.
    """

    def __init__(self, features: Tensor, reference: Moments):
        x = as_float64(features)
        mu, cov = (as_float64(m.to(x.device)) for m in (reference.mean, reference.covariance))
        self.trace = cov.trace()
        self.x = x - mu
        self.square = self.x.square().sum(dim=1)
        self.z = self.x @ root(mu, cov)

    def distance(self, weights: Tensor) -> float:
        """Return the Frechet distance for weights (n,), whole numbers that sum to at least 2; at least 0."""
        used = weights.nonzero()[:, 0]
        w, x, z = weights[used].double(), self.x[used], self.z[used]
        n = w.sum()
        mean, mean_z = w @ x / n, w @ z / n
        gram = (z.T @ (w[:, None] * z) - n * torch.outer(mean_z, mean_z)) / (n - 1)
        trace = (w @ self.square[used] - n * mean.square().sum()) / (n - 1)
        trace_sqrt = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()
        return max((mean.square().sum() + trace + self.trace - 2 * trace_sqrt).item(), 0.0)

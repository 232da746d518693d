"""Precision and recall of Kynkaanniemi et al. 2019: fidelity and variety as two values."""

from typing import Any

import torch
from torch import Tensor

from inkwash.metrics.base import Counts, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.neighbours import blocks, neighbour_radii
from inkwash.metrics.per_image import FeatureMetric


def covered(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Return the fraction of points (n, d) that lie in the ball of at least one centre (m, d) with its radius (m,)."""
    return torch.cat([(d <= radii).any(dim=1) for d in blocks(points, centres)]).double().mean().item()


class PrecisionRecall(FeatureMetric):
    """Precision, the fraction of generated images on the real manifold, and recall, that of real ones on the generated.

    A manifold is the union of balls around its images, each as wide as the distance to the k-th nearest other image.

    Args:
        real: features (n, d); None if a Suite brings them.
        k: 3 in the paper.

    Source: Kynkaanniemi et al. 2019, eq. 1 and 2.
    """

    keys = ("precision", "recall")
    lower_is_better = False

    def __init__(self, real: Tensor | None = None, k: int = 3):
        super().__init__(None if real is None else real.shape[1])
        self.real, self.k = real, k

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        check_neighbours("precision and recall", self.k, counts.generated, counts.real)

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.real = real.features()
        check_neighbours("precision and recall", self.k, num_images, len(self.real))

    def score(self, features: Tensor) -> dict[str, float]:
        assert self.real is not None, "call prepare first"
        real = self.real.to(features.device)
        check_neighbours("precision and recall", self.k, len(features), len(real))
        return {
            "precision": covered(features, real, neighbour_radii(real, self.k)),
            "recall": covered(real, features, neighbour_radii(features, self.k)),
        }

    def protocol(self) -> dict[str, Any]:
        return {"k": self.k}


def check_neighbours(title: str, k: int, *counts: int) -> None:
    """Raise NotApplicableError unless every image has a k-th nearest other image."""
    if not 1 <= k < min(counts):
        raise NotApplicableError(f"no {title}: k={k} must be at least 1 and below the {min(counts)} images")

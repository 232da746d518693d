"""Density and coverage of Naeem et al. 2020: fidelity and variety, less sensitive to outliers."""

from typing import Any

import torch
from torch import Tensor

from inkwash.metrics.base import Counts, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.neighbours import blocks, neighbour_radii
from inkwash.metrics.per_image import FeatureMetric
from inkwash.metrics.precision_recall import check_neighbours


class DensityCoverage(FeatureMetric):
    """Density and coverage, with B_i the open ball around real image i through its k-th nearest other real image:

    density = 1 / (k M) sum_{j, i} [generated image j lies in B_i], which may exceed 1;
    coverage = 1 / N sum_i [a generated image lies in B_i].

    Args:
        real: features (n, d); None if a Suite brings them.
        k: 5 in the paper.

    Source: Naeem et al. 2020, eq. 4 and 5.
    """

    keys = ("density", "coverage")
    lower_is_better = False

    def __init__(self, real: Tensor | None = None, k: int = 5):
        super().__init__(None if real is None else real.shape[1])
        self.real, self.k = real, k

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        check_neighbours("density and coverage", self.k, counts.real)

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.real = real.features()
        check_neighbours("density and coverage", self.k, len(self.real))

    def score(self, features: Tensor) -> dict[str, float]:
        assert self.real is not None, "call prepare first"
        real = self.real.to(features.device)
        radii = neighbour_radii(real, self.k)
        inside, hit = 0, torch.zeros(len(real), dtype=torch.bool, device=radii.device)
        for distances in blocks(features, real):
            within = distances < radii
            inside += int(within.sum())
            hit |= within.any(dim=0)
        return {"density": inside / (self.k * len(features)), "coverage": hit.double().mean().item()}

    def protocol(self) -> dict[str, Any]:
        return {"k": self.k}

"""Frechet distance extrapolated to infinitely many generated images."""

from typing import Any

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.base import Counts, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.frechet import check_moments
from inkwash.metrics.frechet_reweighted import Reweighted
from inkwash.metrics.moments import Moments
from inkwash.metrics.per_image import FeatureMetric
from inkwash.random import generator


class FrechetInfinity(FeatureMetric):
    """Intercept of a straight line through Frechet distances against 1 / n, for random subsets of n images.

    To first order the bias of a distance is proportional to 1 / n, so this takes away that of the generated images;
    that of a reference of few real images stays.

    Args:
        reference: moments of the real images; None if a Suite brings them.
        points: subset sizes, evenly spaced up to all images.
        smallest: smallest subset size; half of the images if there are fewer than twice as many.
        seed: of the subsets.

    Source: Chong and Forsyth 2020, section 3.3, where `points` is 15 and `smallest` 5000.
    """

    keys = ("fd_infinity",)
    lower_is_better = True

    def __init__(self, reference: Moments | None = None, points: int = 15, smallest: int = 5000, seed: int = 0):
        super().__init__(None if reference is None else len(reference.mean))
        if points < 2 or smallest < 2:
            raise UserError(f"FrechetInfinity: points={points} and smallest={smallest} must be at least 2")
        self.reference, self.points, self.smallest, self.seed = reference, points, smallest, seed

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        check_moments(self.title, counts, generated=4)

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.reference = self.moments_of(real)

    def score(self, features: Tensor) -> float:
        assert self.reference is not None, "call prepare first"
        n = len(features)
        if n < 4:
            raise UserError(f"an extrapolation needs at least 4 images, got {n}: pass num_images=4 or more")
        images, draws = Reweighted(features, self.reference), generator(self.seed, "subsets")
        self.sizes = torch.linspace(min(self.smallest, n // 2), n, self.points).round().long().tolist()
        distances = []
        for size in self.sizes:
            chosen = torch.zeros(n, dtype=torch.long).index_fill_(0, torch.randperm(n, generator=draws)[:size], 1)
            distances.append(images.distance(chosen.to(features.device)))
        design = torch.stack([torch.ones(self.points), 1 / torch.tensor(self.sizes)], dim=1).double()
        line = torch.linalg.lstsq(design, torch.tensor(distances, dtype=torch.float64)[:, None]).solution
        self.intercept = line[0].item()
        return max(self.intercept, 0.0)

    def notes(self) -> list[str]:
        assert self.reference is not None
        smallest, dim, notes = self.sizes[0], len(self.reference.mean), []
        if smallest <= dim:
            notes.append(
                f"subsets of only {smallest} images in {dim} dimensions: their bias is not proportional to 1 / n"
            )
        if self.intercept < 0:
            notes.append(f"the line meets 1 / n = 0 at {self.intercept:.3g}: no distance that so many images can show")
        return notes

    def protocol(self) -> dict[str, Any]:
        return {"points": self.points, "smallest": self.smallest, "seed": self.seed}

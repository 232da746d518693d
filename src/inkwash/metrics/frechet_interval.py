"""Bootstrap interval of the Frechet distance."""

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


class FrechetInterval(FeatureMetric):
    """Percentile interval of the Frechet distance over resamples of the generated images; the reference is fixed.

    A resample has fewer different images than the sample, and a distance grows as their number falls. This bias is not
    spread, so it is subtracted: the mean of the resamples less the distance of the sample. If the distance
    itself is mostly bias, the interval is wider than its level.

    Args:
        reference: moments of the real images; None if a Suite brings them.
        resamples: number of resamples.
        level: probability that the interval holds the distance.
        seed: of the resamples.

    Source: Efron and Tibshirani 1993, sections 10.2 (the bias) and 13.3 (percentiles).
    """

    keys = ("fd_low", "fd_high")
    lower_is_better = None

    def __init__(self, reference: Moments | None = None, resamples: int = 200, level: float = 0.95, seed: int = 0):
        super().__init__(None if reference is None else len(reference.mean))
        if resamples < 2 or not 0 < level < 1:
            raise UserError(f"FrechetInterval: resamples={resamples} must be at least 2, level={level} between 0 and 1")
        self.reference, self.resamples, self.level, self.seed = reference, resamples, level, seed

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        check_moments(self.title, counts)

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.reference = self.moments_of(real)

    def score(self, features: Tensor) -> dict[str, float]:
        assert self.reference is not None, "call prepare first"
        n = len(features)
        images, draws = Reweighted(features, self.reference), generator(self.seed, "bootstrap")
        distances = []
        for _ in range(self.resamples):
            counts = torch.bincount(torch.randint(n, (n,), generator=draws), minlength=n)
            distances.append(images.distance(counts.to(features.device)))
        resampled = torch.tensor(distances, dtype=torch.float64)
        bias = resampled.mean() - images.distance(torch.ones(n, device=features.device))
        tails = torch.tensor([(1 - self.level) / 2, (1 + self.level) / 2], dtype=torch.float64)
        low, high = (resampled.quantile(tails) - bias).clamp(min=0).tolist()
        return {"fd_low": low, "fd_high": high}

    def protocol(self) -> dict[str, Any]:
        return {"resamples": self.resamples, "level": self.level, "seed": self.seed}

"""Kernel distance (KID) of Binkowski et al. 2018."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.base import Counts, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.moments import as_float64
from inkwash.metrics.per_image import FeatureMetric


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of x and y (m, d), which may be negative.

    The kernel is k(x, y) = (x.y / d + 1)^3.

    Source: Gretton et al. 2012, eq. 3, with the kernel of Binkowski et al. 2018, section 4.
    """
    m, d = x.shape
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    off_diagonal = xx.sum() - xx.trace() + yy.sum() - yy.trace()
    return off_diagonal / (m * (m - 1)) - 2 * xy.mean()


class KernelDistance(FeatureMetric):
    """Mean and standard deviation of the squared MMD over random subsets of generated and real features.

    It is unbiased, so it may fall a little below 0 if the two sets are alike, and values with different numbers of
    images compare. The subsets are those that torch-fidelity draws from the same seed.

    Args:
        real: features (n, d); None if a Suite brings them.
        subsets, subset_size: number of subsets, and of images in each: half of the images if there are fewer.
        seed: of the subsets.
    """

    keys = ("kid", "kid_std")
    lower_is_better = (True, None)

    def __init__(self, real: Tensor | None = None, subsets: int = 100, subset_size: int = 1000, seed: int = 2020):
        super().__init__(None if real is None else real.shape[1])
        if subsets < 1 or subset_size < 2:
            raise UserError(f"KernelDistance: subsets={subsets} must be at least 1, subset_size={subset_size} 2")
        self.real, self.subsets, self.subset_size, self.seed = real, subsets, subset_size, seed
        self.used_size = subset_size

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        counts.need(self.title, generated=4, real=4)

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.real = real.features()

    def score(self, features: Tensor) -> dict[str, float]:
        assert self.real is not None, "call prepare first"
        x, y = as_float64(features), as_float64(self.real.to(features.device))
        fewest = min(len(x), len(y))
        # All images each time would be the same subset each time, with a spread of 0.
        self.used_size = m = self.subset_size if self.subset_size <= fewest else fewest // 2
        if m < 2:
            raise UserError(
                f"a kernel distance needs at least 4 images on each side, got {fewest}: pass num_images=4 or more"
            )
        draws = np.random.RandomState(self.seed)
        values = []
        for _ in range(self.subsets):
            i, j = (torch.from_numpy(draws.choice(len(z), m, replace=False)).to(z.device) for z in (x, y))
            values.append(mmd2(x[i], y[j]))
        values = torch.stack(values)
        return {"kid": values.mean().item(), "kid_std": values.std(correction=0).item()}

    def notes(self) -> list[str]:
        few = self.used_size < self.subset_size
        return [f"subsets of {self.used_size} images, for there are too few for {self.subset_size}"] if few else []

    def protocol(self) -> dict[str, Any]:
        return {"subsets": self.subsets, "subset_size": self.used_size, "seed": self.seed}

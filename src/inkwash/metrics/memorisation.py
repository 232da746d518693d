"""Memorisation: how close generated images are to training images."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inkwash.metrics.base import Batch, Counts, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.extractors.pixels import PixelFeatures
from inkwash.metrics.moments import as_float64
from inkwash.metrics.neighbours import two_nearest
from inkwash.metrics.per_image import ByIndex

SIGNIFICANT = 3.0  # standard deviations


class Memorisation(ByIndex):
    """Two values, with d_1 and d_2 the distances of an image to its nearest and second nearest training image.

    A mirror image is a copy, too: the distance to a training image is that of the image or of its mirror image,
    whichever is nearer; for held-out images as well. Distances between pixels count both views always, those of other
    features, which take a second pass of the extractor, if the training mirrors its images (data.flip).

    memorised: fraction of generated images with d_1 <= ratio * d_2, so much closer to one training image than to any
    other that they are taken for a copy of it (Yoon et al. 2023; Gu et al. 2023 with the same 1/3);
    closer_than_heldout: P(d_1 of a generated image < d_1 of a held-out image), ties counted half; 1/2 for images as
    new as the held-out ones, 1 for copies (Meehan et al. 2020, whose Delta is 1 less this, of a single cell).

    A note is made if a value is larger than held-out images explain, by more than SIGNIFICANT standard deviations of a
    test of two proportions for the first and the Mann-Whitney test for the second.

    Args:
        train, heldout: features (n, d); None if a Suite brings them, which brings those of mirror images, too. Without
            a Suite `update` can only mirror pixels: levels of square images, 0 .. 255 or divided by 255.
        ratio: largest d_1 / d_2 of a copy.
        extractor: one of the metric's own, PixelFeatures for distances between pixels; None for the suite's.
    """

    keys = ("memorised", "closer_than_heldout")
    lower_is_better = None  # the smallest value is not the best model: an untrained one copies nothing
    known: Tensor

    def __init__(
        self,
        train: Tensor | None = None,
        heldout: Tensor | None = None,
        ratio: float = 1 / 3,
        extractor: FeatureExtractor | None = None,
    ):
        super().__init__(width=2, row_dtype=torch.float64)
        self.ratio, self.own_extractor = ratio, extractor
        self.mirrors, self.side = False, None
        if train is not None and heldout is not None:
            self._expect(train, heldout)
            self.side = _side_of_pixels(train)
            self.mirrors = self.side is not None

    def extractor_or(self, default: FeatureExtractor) -> FeatureExtractor:
        return default if self.own_extractor is None else self.own_extractor

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        counts.need(self.title, train=2, heldout=1)

    def prepare(self, real: RealImages, num_images: int) -> None:
        self.origin = real.provenance("train")
        self.mirrors = real.flip or isinstance(real.extractor, PixelFeatures)
        mirrored = real.features("heldout", mirrored=True) if self.mirrors else None
        self._expect(real.features("train"), real.features("heldout"), mirrored)

    def observe(self, batch: Batch) -> None:
        self.update(batch.index, batch.features, batch.mirrored if self.mirrors else None)

    def update(self, index: Sequence[int] | Tensor, features: Tensor, mirrored: Tensor | None = None) -> None:
        """Find the two nearest training images of features (B, d), and store their distances alone.

        Args:
            mirrored: features (B, d) of the mirror images.
        """
        self.add(index, self._nearest(features, mirrored))

    def _nearest(self, features: Tensor, mirrored: Tensor | None) -> Tensor:
        if mirrored is None and self.side is not None:
            mirrored = features.unflatten(1, (-1, self.side, self.side)).flip(-1).flatten(1)
        device = self.known.device
        return two_nearest(
            as_float64(features).to(device), self.known, None if mirrored is None else as_float64(mirrored).to(device)
        )

    def compute(self) -> dict[str, float]:
        fake = self.gathered().cpu()
        if self.real is None:  # the same for every evaluation of a training run
            self.real = self._nearest(self.heldout, self.heldout_mirrored).cpu()
        self.fractions = [self._copied(distances).double().mean().item() for distances in (fake, self.real)]
        closer = closer_share(fake[:, 0], self.real[:, 0])
        n, m = len(fake), len(self.real)
        self.z = (
            _z_of_proportions(self.fractions[0], self.fractions[1], n, m),
            (closer - 0.5) * math.sqrt(12 * n * m / (n + m + 1)),
        )
        return {"memorised": self.fractions[0], "closer_than_heldout": closer}

    @property
    def flagged(self) -> bool:
        """True if the latest values are larger than held-out images explain."""
        return max(self.z) > SIGNIFICANT

    def protocol(self) -> dict[str, Any]:
        views = ["as it is", "mirrored"] if self.mirrors else ["as it is"]
        return {"ratio": self.ratio, "n_heldout": len(self.heldout), "views": views}

    def notes(self) -> list[str]:
        fake, real = (f"{fraction:.2%}" for fraction in self.fractions)
        notes = []
        if self.z[0] > SIGNIFICANT:
            notes.append(f"{fake} of the generated images are copies of training images, {real} of the held-out ones")
        if self.z[1] > SIGNIFICANT:
            notes.append(
                f"generated images are closer to training images than held-out ones are (Mann-Whitney z = "
                f"{self.z[1]:.1f}): copies, or images plainer than real ones"
            )
        return notes

    def _copied(self, distances: Tensor) -> Tensor:
        return distances[:, 0] <= self.ratio * distances[:, 1]  # 0 <= 0: a copy of an image that train has twice

    def _expect(self, train: Tensor, heldout: Tensor, mirrored: Tensor | None = None) -> None:
        if len(train) < 2:
            raise NotApplicableError("memorisation: a nearest and a second nearest image need 2 training images")
        # In float64 once, not for each batch; a buffer, so that it leaves the device with the metric.
        self.register_buffer("known", as_float64(train), persistent=False)
        self.heldout, self.heldout_mirrored, self.real = heldout, mirrored, None


def _side_of_pixels(features: Tensor) -> int | None:
    """Return the side s of square images with 1, 3 or 4 channels whose levels these are, (n, C * s * s); else None."""
    sides = (math.isqrt(features.shape[1] // channels) for channels in (1, 3, 4))
    side = next((s for s, C in zip(sides, (1, 3, 4), strict=True) if s > 1 and C * s * s == features.shape[1]), None)
    levels = as_float64(features) * (255 if features.max() <= 1 else 1)
    whole = levels.min() >= 0 and levels.max() <= 255 and (levels - levels.round()).abs().max() < 1e-4
    return side if whole else None


def closer_share(x: Tensor, y: Tensor) -> float:
    """Return P(x < y) + P(x = y) / 2 over all pairs of x (n,) and y (m,): the Mann-Whitney U of y, divided by n m."""
    x, y = x.contiguous(), y.sort().values
    above = len(y) - torch.searchsorted(y, x, right=True)
    equal = len(y) - torch.searchsorted(y, x) - above
    return ((above + equal / 2).double().mean() / len(y)).item()


def _z_of_proportions(p: float, q: float, n: int, m: int) -> float:
    """Return by how many standard deviations the proportion p of n exceeds the proportion q of m."""
    pooled = (n * p + m * q) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return (p - q) / spread if spread else 0.0

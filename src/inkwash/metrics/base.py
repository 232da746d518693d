"""What a metric of an evaluation is: it asks for real images once, then watches generated ones go by."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.moments import ExactStates, Moments
from inkwash.metrics.npz import Provenance


class RealImages(Protocol):
    """The real images as one extractor sees them; whatever takes time is cached on disk."""

    extractor: FeatureExtractor

    def provenance(self, split: str | None = None) -> Provenance:
        """Of the split "train" or "heldout", by default the reference's."""
        ...

    def moments(self) -> tuple[Moments, Provenance]:
        """Of the reference's features; they may come from a file that does not say everything."""
        ...

    def features(self, split: str | None = None) -> Tensor:
        """(n, d) of the split "train" or "heldout", by default the reference's, in the images' order."""
        ...

    def seen_by(self, extractor: FeatureExtractor) -> "RealImages":
        """The same images through other eyes."""
        ...


class Seen:
    """A batch of generated images; what a metric asks for is computed when the first one asks.

    Args:
        index: which images of the evaluation these are, in 0 .. num_images - 1.
        images: uint8 (B, C, H, W).
        labels: the classes asked for (B,), where the generator takes any.
    """

    def __init__(
        self, extractor: FeatureExtractor, index: Sequence[int] | Tensor, images: Tensor, labels: Tensor | None = None
    ):
        self.extractor, self.images, self.labels = extractor, images, labels
        self.index = torch.as_tensor(index)

    @cached_property
    def features(self) -> Tensor:
        """float32 (B, d)."""
        return self.extractor(self.images)


class Measure(ExactStates):
    """A metric of a Suite; a new one writes `update`, `compute` and, to get at real images, `prepare`.

    `compute` returns a number, or a dictionary with one for each of `keys`. As with every torchmetrics metric, ranks
    may hold any share of the images and `compute` gives the same value on all of them.

    Attributes:
        keys: what its values are called before the extractor and the number of images are added.
        lower_is_better: True, False, or None for values that have no best (a spread, an end of an interval); a tuple
            with one of them for each of `keys` if they differ. A literal, like `keys`, because a sweep reads it from
            the source, without importing torch.
        needs_labels: it compares images with the classes that were asked for.
        origin: the real images that it compares with.
        caveats: sentences that belong beside its value whatever it is.
    """

    keys: tuple[str, ...] = ()
    lower_is_better: bool | tuple[bool | None, ...] | None = None
    needs_labels = False
    origin = Provenance()
    caveats: Sequence[str] = ()

    def direction(self, key: str) -> bool | None:
        """Return whether less is better of the value `key`, None if it has no best."""
        lower = self.lower_is_better
        return lower[self.keys.index(key)] if isinstance(lower, tuple) else lower

    def eyes(self, suites: FeatureExtractor) -> FeatureExtractor:
        """The extractor that it looks through, the suite's unless it has one of its own."""
        return suites

    def prepare(self, real: RealImages, num_images: int) -> None:
        """Fetch what it needs of the real images. Raises NotApplicableError where it has no meaning."""
        self.origin = real.provenance()

    def moments_of(self, real: RealImages) -> Moments:
        """For `prepare`: the reference's moments, and in the record what their file does not say."""
        moments, self.origin = real.moments()
        if unknown := self.origin.unknown:
            self.caveats = [f"the file of the reference does not say its {', '.join(unknown)}"]
        return moments

    def observe(self, seen: Seen) -> None:
        """Take from a batch what `update` wants."""
        self.update(seen.features)

    def protocol(self) -> dict[str, Any]:
        """Its settings, for the record."""
        return {}

    def notes(self) -> list[str]:
        """Sentences that belong beside its value; asked for after `compute`."""
        return []

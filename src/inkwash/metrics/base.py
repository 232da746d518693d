"""The interface of a metric: `prepare` with the real images, `update` with each batch of features, `compute`."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.moments import ExactStates, Moments
from inkwash.metrics.npz import Provenance


class RealImages(Protocol):
    """Features and moments of the real images for one extractor, cached on disk (metrics/reference.py)."""

    extractor: FeatureExtractor
    flip: bool  # the training mirrors its images

    def provenance(self, split: str | None = None) -> Provenance:
        """Return the origin of a split, "train" or "heldout", by default the reference's."""
        ...

    def moments(self) -> tuple[Moments, Provenance]:
        """Return the moments of the reference's features, and their origin, which a file may know in part only."""
        ...

    def features(self, split: str | None = None, mirrored: bool = False) -> Tensor:
        """Return the features (n, d) of a split, by default the reference's, in the images' order.

        Args:
            mirrored: of the images' mirror images, left for right.
        """
        ...

    def for_extractor(self, extractor: FeatureExtractor) -> "RealImages":
        """Return the same images for another feature extractor."""
        ...


class Counts(NamedTuple):
    """Numbers of images, which are known before anything is trained or generated."""

    generated: int
    train: int
    heldout: int
    reference: str = "heldout"  # the split that distances compare with
    from_file: bool = False  # its moments come from a file, whatever the split has
    node: str = ""  # of the configuration, with a dot at its end: its keys are typed so

    @property
    def real(self) -> int:
        """Number of images of the reference."""
        return self.train if self.reference == "train" else self.heldout

    def need(self, title: str, generated: int = 0, real: int = 0, train: int = 0, heldout: int = 0) -> None:
        """Raise NotApplicableError, with the metric's title, unless there are at least so many images of each kind."""
        other = f"; or compare with the training images: {self.node}reference=train"
        wanted = {
            "generated": (generated, self.generated, f"; pass {self.node}num_images"),
            self.reference: (real, self.real, "" if self.reference == "train" else other),
        }
        for kind, (least, there, remedy) in wanted.items():
            if there < least:
                raise NotApplicableError(f"no {title}: it needs {least} {kind} images, there are {there}{remedy}")
        for kind, least, there in (("train", train, self.train), ("heldout", heldout, self.heldout)):
            if there < least:
                raise NotApplicableError(f"no {title}: it needs {least} {kind} images, there are {there}")


class Batch:
    """A batch of generated images, whose features are computed once, when the first metric needs them.

    Args:
        index: their numbers among the images of the evaluation, in 0 .. num_images - 1.
        images: uint8 (B, C, H, W).
        labels: the classes asked for (B,); None without classes.
    """

    def __init__(
        self, extractor: FeatureExtractor, index: Sequence[int] | Tensor, images: Tensor, labels: Tensor | None = None
    ):
        self.extractor, self.images, self.labels = extractor, images, labels
        self.index = torch.as_tensor(index)

    @cached_property
    def features(self) -> Tensor:
        """The features, float32 (B, d)."""
        return self.extractor(self.images)

    @cached_property
    def mirrored(self) -> Tensor:
        """The features of the mirror images, left for right, float32 (B, d)."""
        return self.extractor(self.images.flip(-1))


class Measure(ExactStates):
    """Base class of metrics; a new one writes `update`, `compute` and, if it needs real images, `prepare`.

    `compute` returns a number, or a dictionary with one for each of `keys`. Each rank measures some of the images, and
    `compute` returns the value of all of them on every rank (a torchmetrics metric).

    Attributes:
        keys: names of its values, without extractor and number of images (metrics/record.py adds them).
        lower_is_better: True, False, or None for values that have no best (a spread, an end of an interval); a tuple
            with one of them for each of `keys` if they differ. A literal, like `keys`, because a sweep reads it from
            the source, without importing torch.
        needs_labels: True if it compares images with the classes that were asked for.
        origin: the provenance of the real images that it compares with.
        caveats: sentences for the record's notes that are known before any image is measured.
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

    def extractor_or(self, default: FeatureExtractor) -> FeatureExtractor:
        """Return the metric's own feature extractor, if it has one, else the suite's."""
        return default

    @property
    def title(self) -> str:
        """Its values' names, for a line of the log."""
        return ", ".join(self.keys)

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        """Raise NotApplicableError if there are too few images, or of an extractor that knows too little.

        It is called before anything is trained, the extractor's weights included.
        """

    def prepare(self, real: RealImages, num_images: int) -> None:
        """Compute or load what the metric needs of the real images.

        Raises:
            NotApplicableError: the metric has no meaning for this data or extractor.
        """
        self.origin = real.provenance()

    def moments_of(self, real: RealImages) -> Moments:
        """Return the reference's moments, for `prepare`, and note what their file does not say about them."""
        moments, self.origin = real.moments()
        if unknown := self.origin.unknown:
            self.caveats = [f"the file of the reference does not say its {', '.join(unknown)}"]
        return moments

    def observe(self, batch: Batch) -> None:
        """Call `update` with what it needs of a batch."""
        self.update(batch.features)

    def protocol(self) -> dict[str, Any]:
        """Return the metric's settings, for the record."""
        return {}

    def notes(self) -> list[str]:
        """Return sentences for the record that say how the value may mislead; called after `compute`."""
        return []

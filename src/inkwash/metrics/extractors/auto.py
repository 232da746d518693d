"""extractor=auto: the best features that these images, this machine and these labels allow."""

import logging
from collections.abc import Callable

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.extractors.classifier import ClassifierFeatures, check_data
from inkwash.metrics.extractors.pyramid import PyramidFeatures
from inkwash.metrics.extractors.weights import find_weights
from inkwash.metrics.ranks import largest
from inkwash.reach import reachable

log = logging.getLogger(__name__)

NAMES = ("inception", "classifier", "pyramid")  # runs/directory.py finds the choice by them
ENOUGH = 20  # training images of a class
SMALLEST = 32  # side of an image that Inception, which sees 299 x 299 pixels, is shown


class AutoFeatures(FeatureExtractor):
    """Chooses one of three extractors, which takes its place; one line of the log says which, and why no other.

    1. Inception, if its weights are on this machine or can be downloaded, for images of 1 or 3 channels and 32 x 32 or
       more: below that most of what it sees would be interpolation.
    2. The classifier, if the labels are in use (data.num_classes), the images 8 x 8 or more, and there are
       ENOUGH of them in a class: of fewer it learns no more than guesses.
    3. Laplacian pyramids, which need neither: experiments/extractors compares their features with others.

    All ranks take the same one, the first that every rank can have. Without a network the attempt to reach the weights'
    server ends after 3 seconds.

    Args:
        cache_dir: folder for the classifier's weights.
        first: name of the extractor to try before the others, with which a run has been measured so far; or None.
    """

    name = "auto"

    def __init__(self, cache_dir: str, first: str | None = None):
        super().__init__()
        if first not in (None, *NAMES):
            raise UserError(f"extractor.first={first} must be null or one of {', '.join(NAMES)}")
        self.cache_dir, self.first = cache_dir, first

    def chosen(self, train: ImageSplit, heldout: ImageSplit, classes: bool) -> FeatureExtractor:
        """Return the extractor to use."""
        # A number that ranks agree on: they may read the records of a run, where a choice stands, at different times.
        first = largest(-1 if self.first is None else NAMES.index(self.first))
        options = self._options(train, classes, first == NAMES.index("classifier"))
        names = sorted(NAMES, key=lambda name: name != NAMES[first]) if first >= 0 else [*NAMES]
        reasons: list[str] = []
        start = 0
        while True:
            mine, extractor = next(
                (i, found)
                for i, name in enumerate(names)
                if i >= start and (found := _attempted(name, options[name], reasons)) is not None
            )
            start = largest(mine)
            if start == -largest(-mine):  # the largest is the smallest: all ranks have the same
                break
        log.info("extractor=auto: %s%s", extractor.name, "".join(f"; {reason}" for reason in reasons))
        return extractor

    def _options(self, train: ImageSplit, classes: bool, was_used: bool) -> dict[str, Callable[[], FeatureExtractor]]:
        """Return what makes each extractor, or raises a UserError if it cannot be had.

        Args:
            was_used: whether the run has been measured by the classifier so far.
        """

        def classifier() -> FeatureExtractor:
            _check_classifier(train, classes, was_used)
            return ClassifierFeatures(self.cache_dir)

        return {"inception": lambda: _inception(train.shape), "classifier": classifier, "pyramid": PyramidFeatures}


def _attempted(name: str, make: Callable[[], FeatureExtractor], reasons: list[str]) -> FeatureExtractor | None:
    try:
        return make()
    except UserError as error:
        reasons.append(f"not {name}: {error}")
        return None


def _inception(shape: tuple[int, ...]) -> FeatureExtractor:
    channels, *sides = shape
    if channels not in (1, 3):
        raise NotApplicableError(f"it sees 1 or 3 channels, not {channels}")
    if min(sides) < SMALLEST:
        raise NotApplicableError(f"the images are smaller than {SMALLEST} x {SMALLEST}")
    from inkwash.metrics.extractors.inception import InceptionFeatures  # imports torchvision, which takes a second

    inception = InceptionFeatures()
    if not inception.published.path.exists() and not reachable(inception.published.url):
        raise NotApplicableError(f"its weights are not here, and {inception.published.url} cannot be reached")
    find_weights(inception.published)
    return inception


def _check_classifier(train: ImageSplit, classes: bool, was_used: bool) -> None:
    if not (classes or was_used):
        raise NotApplicableError("no classes are asked for (data.num_classes)")
    check_data(train)
    each = len(train) / (int(train.labels.max()) + 1)
    if each < ENOUGH and not was_used:
        raise NotApplicableError(f"{each:.3g} images of a class are too few to learn from; {ENOUGH} are enough")

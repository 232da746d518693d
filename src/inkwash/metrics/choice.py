"""Which metrics have a meaning for a data set, and what they need before images are measured."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.base import Counts, Measure
from inkwash.metrics.cache import check_writable
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.ranks import rank_0_first
from inkwash.metrics.record import metric_name
from inkwash.metrics.reference import Reference, check_split

log = logging.getLogger(__name__)


class Choice:
    """The metrics of an evaluation, of some that were asked for: `choose` them, then `load` what they need.

    Metrics that have no meaning for the data set, the extractor or images without labels are left out with one line in
    the log, before anything is trained for them.

    Args:
        extractor: the extractor of all metrics that have none of their own.
        metrics: the metrics that were asked for.
        num_images: number of generated images, which is part of every name.

    Attributes:
        metrics: those that have a meaning; set by `choose`, for good by `load`.
        left_out: a sentence for each of the others.
        real: the real images to compare with; set by `choose`.
    """

    def __init__(self, extractor: FeatureExtractor, metrics: Sequence[Measure], num_images: int):
        self.extractor, self.given, self.num_images = extractor, metrics, num_images
        self.metrics: list[Measure] = []
        self.left_out: list[str] = []
        self.device = torch.device("cpu")

    def choose(
        self,
        train: ImageSplit,
        heldout: ImageSplit,
        cache_dir: str | Path,
        split: str = "heldout",
        file: str | Path | None = None,
        labelled: bool = False,
        flip: bool = False,
        classes: bool = True,
        node: str = "",
    ) -> None:
        """Choose the extractor and the metrics that have a meaning here, before anything is loaded.

        Args:
            cache_dir, split, file: as in Reference.
            labelled: True if `update` gets the classes that images were generated for.
            flip: True if the training mirrors its images.
            classes: False if the labels of the data set are not in use (data.num_classes=null), for extractor=auto.
            node: of the configuration that these settings stand in, callbacks.evaluation for example, for messages.

        Raises:
            UserError: two metrics have the same name.
        """
        self.left_out = []
        node = f"{node}." if node else ""
        check_split(split, node)
        counts = Counts(self.num_images, len(train), len(heldout), split, file is not None, node)
        self.extractor = self.extractor.chosen(train, heldout, classes)
        possible = [metric for metric in self.given if self._kept(metric, self._check, counts, labelled)]
        self.metrics = self._if_applicable(possible, lambda: self.extractor.check(train))
        self.real = Reference(self.extractor, train, heldout, cache_dir, split, file, flip)
        if not self._has_published_weights:  # whose hash may be a part of names
            self._refuse_twins()

    @property
    def loads_slowly(self) -> bool:
        """True if `load` has to train the extractor, and `names` will stay as they are after `choose`.

        Raises:
            UserError: what is trained and measured then could not be stored.
        """
        if self.real.file is not None or self._has_published_weights:
            return False  # the user's files may be wrong
        if not self._uses_extractor or self.extractor.is_ready(**self.real.splits):
            return False
        check_writable(self.real.cache_dir)
        return True

    def load(self, device: torch.device | str = "cpu") -> None:
        """Load or train what `choose` has chosen, and compute or load what it needs of the real images.

        Raises:
            UserError: weights or reference statistics cannot be loaded, or two metrics have the same name.
        """
        if self._uses_extractor:
            self.metrics = self._if_applicable(self.metrics, self._prepare_extractor)
        self.to(device)
        self.metrics = [metric for metric in self.metrics if self._kept(metric, self._prepare)]
        self._refuse_twins()
        if self._uses_extractor and self.extractor.doubt:
            log.warning("metrics      %s", self.extractor.doubt)

    def to(self, device: torch.device | str) -> None:
        """Move extractor and metrics to a device."""
        self.device = torch.device(device)
        for module in (self.extractor, *self.metrics):
            module.to(self.device)

    @property
    def names(self) -> list[str]:
        """Names of the values that `compute` returns; set by `choose`, for good by `load`."""
        return [self._name(metric, key) for metric in self.metrics for key in metric.keys]

    @property
    def directions(self) -> dict[str, bool | None]:
        """Direction (lower_is_better) of each value, by name; known when `names` are."""
        return {self._name(metric, key): metric.direction(key) for metric in self.metrics for key in metric.keys}

    def extractor_of(self, metric: Measure) -> FeatureExtractor:
        return metric.extractor_or(self.extractor)

    def _name(self, metric: Measure, key: str) -> str:
        return metric_name(key, self.extractor_of(metric), self.num_images)

    def _kept(self, metric: Measure, step: Callable[..., None], *arguments: Any) -> bool:
        """Take a step with a metric; log and return False if it has no meaning here."""
        try:
            step(metric, *arguments)
        except NotApplicableError as error:
            log.warning("%s", error)
            self.left_out.append(str(error))
            return False
        return True

    def _check(self, metric: Measure, counts: Counts, labelled: bool) -> None:
        if metric.needs_labels and not labelled:
            raise NotApplicableError(f"no {metric.title}: the images are drawn without class labels, which it needs")
        metric.check(counts, self.extractor_of(metric))

    def _refuse_twins(self) -> None:
        if twice := {name for name in self.names if self.names.count(name) > 1}:
            raise UserError(f"the metrics give {', '.join(sorted(twice))} twice: leave one of them out")

    @property
    def _has_published_weights(self) -> bool:
        extractors = {self.extractor, *map(self.extractor_of, self.metrics)}
        return any(extractor.published is not None for extractor in extractors)

    @property
    def _uses_extractor(self) -> bool:
        return any(self.extractor_of(metric) is self.extractor for metric in self.metrics)

    def _if_applicable(self, metrics: list[Measure], step: Callable[[], None]) -> list[Measure]:
        """Take a step with the suite's extractor; without the metrics that use it if it cannot be applied."""
        try:
            step()
        except NotApplicableError as error:
            reason = error

            def refuse(metric: Measure) -> None:
                if self.extractor_of(metric) is self.extractor:
                    raise NotApplicableError(f"no {metric.title}: {reason}")

            return [metric for metric in metrics if self._kept(metric, refuse)]
        return metrics

    def _prepare_extractor(self) -> None:
        with rank_0_first():
            self.extractor.prepare(**self.real.splits)

    def _prepare(self, metric: Measure) -> None:
        extractor = self.extractor_of(metric)
        real = self.real if extractor is self.extractor else self.real.for_extractor(extractor.to(self.device))
        metric.prepare(real, self.num_images)

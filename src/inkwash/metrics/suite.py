"""Many metrics of the same generated images in one pass: features are computed once for each image."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.base import Batch, Counts, Measure
from inkwash.metrics.cache import check_writable
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.extractors.precision import full_precision
from inkwash.metrics.per_image import FeatureMetric, gather
from inkwash.metrics.ranks import rank_0_first
from inkwash.metrics.record import MetricRecord, metric_name
from inkwash.metrics.reference import Reference

log = logging.getLogger(__name__)


class Suite:
    """All metrics of an evaluation: `prepare` once, `update` with each batch, `compute() -> {name: value}`.

    `prepare` is `choose` and then `load`, which may take long: training calls them apart.

    Every rank calls each of them and gets the same values, whichever of the images 0 .. num_images - 1 it generated.
    Metrics that have no meaning for the data set, the extractor or images without labels are left out with one line in
    the log, before anything is trained for them.

    Args:
        extractor: the extractor of all metrics that have none of their own.
        metrics: the metrics; no other suite may use them, because they hold this one's sums.
        num_images: number of generated images, which is part of every name.

    Attributes:
        left_out: a sentence for each metric that has no meaning here; set by `choose`.
    """

    def __init__(self, extractor: FeatureExtractor, metrics: Sequence[Measure], num_images: int):
        self.extractor, self.given, self.num_images = extractor, metrics, num_images
        self.metrics: list[Measure] = []
        self.left_out: list[str] = []
        self.device = torch.device("cpu")

    def prepare(self, *arguments: Any, device: torch.device | str = "cpu", **settings: Any) -> None:
        """Load the extractors' weights and the statistics of the real images, before any image is generated.

        Args: those of `choose`, and the device.

        Raises:
            UserError: weights or reference statistics cannot be loaded, or two metrics have the same name.
        """
        self.choose(*arguments, **settings)
        self.load(device)

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
    ) -> None:
        """Choose the extractor and the metrics that have a meaning here, before anything is loaded.

        Args:
            cache_dir, split, file: as in Reference.
            labelled: True if `update` gets the classes that images were generated for.
            flip: True if the training mirrors its images.
            classes: False if the labels of the data set are not in use (data.num_classes=null), for extractor=auto.

        Raises:
            UserError: two metrics have the same name.
        """
        self.left_out = []
        counts = Counts(self.num_images, len(train), len(heldout), split, file is not None)
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
        """Load or train what `choose` has chosen, and compute or load what it needs of the real images."""
        if self._uses_extractor:
            self.metrics = self._if_applicable(self.metrics, self._prepare_extractor)
        self.to(device)
        # One store of features for all metrics with the same extractor.
        self.stores: dict[FeatureExtractor, FeatureMetric] = {}
        self.metrics = [metric for metric in self.metrics if self._kept(metric, self._prepare)]
        self._refuse_twins()
        self.reset()
        self.to(device)

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
        if isinstance(metric, FeatureMetric):
            self.stores.setdefault(extractor, FeatureMetric(extractor.dim))

    def extractor_of(self, metric: Measure) -> FeatureExtractor:
        return metric.extractor_or(self.extractor)

    def to(self, device: torch.device | str) -> None:
        """Move extractors and sums to a device: that of generation, and back to the CPU while training uses it."""
        self.device = torch.device(device)
        for module in (self.extractor, *self.metrics, *getattr(self, "stores", {}).values()):
            module.to(self.device)

    @property
    def names(self) -> list[str]:
        """Names of the values that `compute` returns; set by `choose`, for good by `load`."""
        return [self._name(metric, key) for metric in self.metrics for key in metric.keys]

    @property
    def directions(self) -> dict[str, bool | None]:
        """Direction (lower_is_better) of each value, by name; known when `names` are."""
        return {self._name(metric, key): metric.direction(key) for metric in self.metrics for key in metric.keys}

    def reset(self) -> None:
        """Set all sums of generated images back to zero."""
        for metric in (*self.metrics, *self.stores.values()):
            metric.reset()
        self.indices: list[Tensor] = []
        self.values: dict[str, float] = {}

    def update(self, index: Sequence[int] | Tensor, images: Tensor, labels: Tensor | None = None) -> None:
        """Measure images (B, C, H, W), uint8, with the numbers `index` (B,) and the classes `labels` (B,)."""
        images = images.to(self.device)
        extractors = {self.extractor_of(metric) for metric in self.metrics}
        batches = {extractor: Batch(extractor, index, images, labels) for extractor in extractors}
        with full_precision(self.device):  # autocast is meant for the network that generates
            for metric in self.metrics:
                if not isinstance(metric, FeatureMetric):
                    metric.observe(batches[self.extractor_of(metric)])
            for extractor, store in self.stores.items():
                store.observe(batches[extractor])
        self.indices.append(torch.as_tensor(index, device=self.device))

    def compute(self) -> dict[str, float]:
        """Return all values by name, the same on every rank. Raises UserError unless each image was measured once."""
        self._check_complete()
        features = {extractor: store.gathered() for extractor, store in self.stores.items()}
        self.values = {}
        for metric in self.metrics:
            shared = isinstance(metric, FeatureMetric)
            value = metric.score(features[self.extractor_of(metric)]) if shared else metric.compute()
            for key, number in (value if isinstance(value, dict) else {metric.keys[0]: value}).items():
                self.values[self._name(metric, key)] = number
        if dist.is_available() and dist.is_initialized():
            # Ranks decide by these values, and their last digits may differ: those of rank 0 count.
            box = [self.values]
            dist.broadcast_object_list(box, src=0, device=self.device)
            self.values = box[0]
        return self.values

    def records(self, **generation: Any) -> dict[str, MetricRecord]:
        """Return the latest values, each with its whole protocol.

        Args:
            generation: how the images were generated: weights, sampler, steps, guidance and seed of MetricRecord.
        """
        return {
            self._name(metric, key): self._record(metric, key, generation)
            for metric in self.metrics
            for key in metric.keys
        }

    def _record(self, metric: Measure, key: str, generation: dict[str, Any]) -> MetricRecord:
        extractor, origin, name = self.extractor_of(metric), metric.origin, self._name(metric, key)
        return MetricRecord(
            name=name,
            value=self.values[name],
            n_real=origin.n_real,
            n_fake=self.num_images,
            extractor=extractor.name,
            extractor_hash=extractor.hash,
            reference=origin.split,
            preprocessing=extractor.preprocessing,
            data=origin.data,
            protocol=metric.protocol(),
            notes=[*metric.caveats, *metric.notes()],
            lower_is_better=metric.direction(key),
            **generation,
        )

    def _name(self, metric: Measure, key: str) -> str:
        return metric_name(key, self.extractor_of(metric), self.num_images)

    def _check_complete(self) -> None:
        index = gather(torch.cat([torch.empty(0, dtype=torch.int64, device=self.device), *self.indices]))
        if not torch.equal(index.sort().values, torch.arange(self.num_images, device=index.device)):
            raise UserError(
                f"metrics of {self.num_images} images, but {len(index.unique())} different ones were measured "
                f"{len(index)} times"
            )

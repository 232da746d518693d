"""Many metrics of the same generated images in one pass: each image is looked at once."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.base import Measure, Seen
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.per_image import FeatureMetric, gather
from inkwash.metrics.record import MetricRecord, metric_name
from inkwash.metrics.reference import Reference

log = logging.getLogger(__name__)


class Suite:
    """`prepare(real images)`, then `update(index, images)` for each batch, then `compute() -> {name: value}`.

    Every rank takes part in each of them and gets the same values, whichever images 0 .. num_images - 1 it drew.
    Metrics that have no meaning for the data set, the extractor or images without labels are left out with one line in
    the log.

    Args:
        extractor: the eyes of all metrics that have none of their own.
        metrics: what to measure; one suite's own, for they keep its statistics.
        num_images: how many images there will be; part of every name.

    Attributes:
        left_out: a sentence for each metric that has no meaning; known after `prepare`.
    """

    def __init__(self, extractor: FeatureExtractor, metrics: Sequence[Measure], num_images: int):
        self.extractor, self.given, self.num_images = extractor, metrics, num_images
        self.metrics: list[Measure] = []
        self.left_out: list[str] = []
        self.device = torch.device("cpu")

    def prepare(
        self,
        train: ImageSplit,
        heldout: ImageSplit,
        cache_dir: str | Path,
        split: str = "heldout",
        file: str | Path | None = None,
        labelled: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Find weights and real images, where a failure costs nothing yet.

        Args:
            cache_dir, split, file: as in Reference.
            labelled: whether `update` will be told which classes were asked for.

        Raises:
            NotApplicableError: the extractor cannot see these images.
            UserError: weights or reference statistics cannot be had, or two metrics have the same name.
        """
        self.extractor.prepare(train, heldout)
        self.real = Reference(self.extractor, train, heldout, cache_dir, split, file)
        self.to(device)
        # One store of features for all metrics that look through the same eyes.
        self.stores: dict[FeatureExtractor, FeatureMetric] = {}
        self.left_out = []
        self.metrics = [metric for metric in self.given if self._prepared(metric, labelled)]
        if twice := {name for name in self.names if self.names.count(name) > 1}:
            raise UserError(f"the metrics give {', '.join(sorted(twice))} twice: leave one of them out")
        self.reset()
        self.to(device)

    def _prepared(self, metric: Measure, labelled: bool) -> bool:
        eyes = self.eyes(metric)
        try:
            if metric.needs_labels and not labelled:
                keys = ", ".join(metric.keys)
                raise NotApplicableError(f"no {keys}: the images are drawn without class labels, which it needs")
            real = self.real if eyes is self.extractor else self.real.seen_by(eyes.to(self.device))
            metric.prepare(real, self.num_images)
        except NotApplicableError as error:
            log.warning("%s", error)
            self.left_out.append(str(error))
            return False
        if isinstance(metric, FeatureMetric):
            self.stores.setdefault(eyes, FeatureMetric(eyes.dim))
        return True

    def eyes(self, metric: Measure) -> FeatureExtractor:
        return metric.eyes(self.extractor)

    def to(self, device: torch.device | str) -> None:
        """Move extractors and statistics: to the device that draws the images, and away to leave it to training."""
        self.device = torch.device(device)
        for module in (self.extractor, *self.metrics, *getattr(self, "stores", {}).values()):
            module.to(self.device)

    @property
    def names(self) -> list[str]:
        """Of the values that `compute` will give; known after `prepare`."""
        return [self._name(metric, key) for metric in self.metrics for key in metric.keys]

    @property
    def directions(self) -> dict[str, bool | None]:
        """Whether less is better of each value, by name; known after `prepare`."""
        return {self._name(metric, key): metric.direction(key) for metric in self.metrics for key in metric.keys}

    def reset(self) -> None:
        """Forget the generated images."""
        for metric in (*self.metrics, *self.stores.values()):
            metric.reset()
        self.seen: list[Tensor] = []
        self.values: dict[str, float] = {}

    def update(self, index: Sequence[int] | Tensor, images: Tensor, labels: Tensor | None = None) -> None:
        """Measure images (B, C, H, W), uint8, which are those numbered `index` (B,), of classes `labels` (B,)."""
        images = images.to(self.device)
        views = {eyes: Seen(eyes, index, images, labels) for eyes in {self.eyes(metric) for metric in self.metrics}}
        with torch.autocast(self.device.type, enabled=False):  # that of the network which drew the images
            for metric in self.metrics:
                if not isinstance(metric, FeatureMetric):
                    metric.observe(views[self.eyes(metric)])
            for eyes, store in self.stores.items():
                store.observe(views[eyes])
        self.seen.append(torch.as_tensor(index, device=self.device))

    def compute(self) -> dict[str, float]:
        """All values by name, those of rank 0 on every rank. Raises UserError unless each image was seen once."""
        self._check_complete()
        features = {eyes: store.gathered() for eyes, store in self.stores.items()}
        self.values = {}
        for metric in self.metrics:
            shared = isinstance(metric, FeatureMetric)
            value = metric.score(features[self.eyes(metric)]) if shared else metric.compute()
            for key, number in (value if isinstance(value, dict) else {metric.keys[0]: value}).items():
                self.values[self._name(metric, key)] = number
        if dist.is_available() and dist.is_initialized():
            # Ranks take decisions from the values, whatever their own last digits.
            box = [self.values]
            dist.broadcast_object_list(box, src=0, device=self.device)
            self.values = box[0]
        return self.values

    def records(self, **generation: Any) -> dict[str, MetricRecord]:
        """The latest values, each with its whole protocol.

        Args:
            generation: how the images came about: weights, sampler, steps, guidance and seed of MetricRecord.
        """
        return {
            self._name(metric, key): self._record(metric, key, generation)
            for metric in self.metrics
            for key in metric.keys
        }

    def _record(self, metric: Measure, key: str, generation: dict[str, Any]) -> MetricRecord:
        eyes, origin, name = self.eyes(metric), metric.origin, self._name(metric, key)
        return MetricRecord(
            name=name,
            value=self.values[name],
            n_real=origin.n_real,
            n_fake=self.num_images,
            extractor=eyes.name,
            extractor_hash=eyes.hash,
            reference=origin.split,
            preprocessing=eyes.preprocessing,
            data=origin.data,
            protocol=metric.protocol(),
            notes=[*metric.caveats, *metric.notes()],
            lower_is_better=metric.direction(key),
            **generation,
        )

    def _name(self, metric: Measure, key: str) -> str:
        return metric_name(key, self.eyes(metric), self.num_images)

    def _check_complete(self) -> None:
        index = gather(torch.cat([torch.empty(0, dtype=torch.int64, device=self.device), *self.seen]))
        if not torch.equal(index.sort().values, torch.arange(self.num_images, device=index.device)):
            raise UserError(
                f"metrics of {self.num_images} images, but {len(index.unique())} different ones were measured "
                f"{len(index)} times"
            )

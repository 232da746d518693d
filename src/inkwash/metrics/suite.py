"""Many metrics of the same generated images in one pass: features are computed once for each image."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.base import Batch, Measure
from inkwash.metrics.choice import Choice
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.extractors.precision import full_precision
from inkwash.metrics.per_image import FeatureMetric, gather
from inkwash.metrics.record import MetricRecord


class Suite(Choice):
    """All metrics of an evaluation: `prepare` once, `update` with each batch, `compute() -> {name: value}`.

    `prepare` is `choose` and then `load`, which may take long: training calls them apart.

    Every rank calls each of them and gets the same values, whichever of the images 0 .. num_images - 1 it generated.

    Args:
        extractor, num_images: as in Choice.
        metrics: the metrics; no other suite may use them, because they hold this one's sums.
    """

    def __init__(self, extractor: FeatureExtractor, metrics: Sequence[Measure], num_images: int):
        super().__init__(extractor, metrics, num_images)
        self.stores: dict[FeatureExtractor, FeatureMetric] = {}

    def prepare(self, *arguments: Any, device: torch.device | str = "cpu", **settings: Any) -> None:
        """Load the extractors' weights and the statistics of the real images, before any image is generated.

        Args: those of `choose`, and the device.

        Raises:
            UserError: weights or reference statistics cannot be loaded, or two metrics have the same name.
        """
        self.choose(*arguments, **settings)
        self.load(device)

    def load(self, device: torch.device | str = "cpu") -> None:
        super().load(device)
        # One store of features for all metrics with the same extractor.
        compared = (metric for metric in self.metrics if isinstance(metric, FeatureMetric))
        extractors = dict.fromkeys(map(self.extractor_of, compared))
        self.stores = {extractor: FeatureMetric(extractor.dim) for extractor in extractors}
        self.reset()
        self.to(device)

    def to(self, device: torch.device | str) -> None:
        """Move extractors and sums to a device: that of generation, and back to the CPU while training uses it."""
        super().to(device)
        for store in self.stores.values():
            store.to(self.device)

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

    def _check_complete(self) -> None:
        index = gather(torch.cat([torch.empty(0, dtype=torch.int64, device=self.device), *self.indices]))
        if not torch.equal(index.sort().values, torch.arange(self.num_images, device=index.device)):
            raise UserError(
                f"metrics of {self.num_images} images, but {len(index.unique())} different ones were measured "
                f"{len(index)} times"
            )

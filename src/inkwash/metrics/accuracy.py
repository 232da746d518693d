"""Class accuracy: how often a classifier agrees with the class that an image was generated for."""

import torch
from torch import Tensor

from inkwash.metrics.base import Batch, Counts, Measure, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError


class ClassAccuracy(Measure):
    """Fraction of images that the data set's classifier assigns to the class asked for."""

    keys = ("accuracy",)
    lower_is_better = False
    needs_labels = True
    correct: Tensor
    count: Tensor

    def __init__(self):
        super().__init__()
        self.add_state("correct", torch.tensor(0), "sum")
        self.add_state("count", torch.tensor(0), "sum")

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        if not extractor.knows_classes:
            raise NotApplicableError(f"no accuracy: {extractor.name} does not know the data set's classes")

    def prepare(self, real: RealImages, num_images: int) -> None: ...  # no reference: its `origin` stays unknown

    def observe(self, batch: Batch) -> None:
        logits = batch.extractor.logits(batch.features)
        assert logits is not None
        assert batch.labels is not None
        self.update(logits, batch.labels)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (B, K) and the classes asked for (B,)."""
        self.correct += (logits.argmax(dim=1) == labels.to(logits.device)).sum().to(self.correct.device)
        self.count += len(labels)

    def compute(self) -> float:
        return int(self.correct) / int(self.count)

"""Whether images are of the class that was asked for."""

import torch
from torch import Tensor

from inkwash.metrics.base import Measure, RealImages, Seen
from inkwash.metrics.extractors.base import NotApplicableError


class ClassAccuracy(Measure):
    """Share of images that the data set's classifier sees as the class asked for: `update(logits (B, K), labels)`."""

    keys = ("accuracy",)
    lower_is_better = False
    needs_labels = True
    right: Tensor
    count: Tensor

    def __init__(self):
        super().__init__()
        self.add_state("right", torch.tensor(0), "sum")
        self.add_state("count", torch.tensor(0), "sum")

    def prepare(self, real: RealImages, num_images: int) -> None:  # no reference: its `origin` stays unknown
        if real.extractor.heldout_accuracy is None:
            raise NotApplicableError(f"no accuracy: {real.extractor.name} does not know the data set's classes")

    def observe(self, seen: Seen) -> None:
        logits = seen.extractor.logits(seen.features)
        assert logits is not None
        assert seen.labels is not None
        self.update(logits, seen.labels)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (B, K) and the classes asked for (B,)."""
        self.right += (logits.argmax(dim=1) == labels.to(logits.device)).sum().to(self.right.device)
        self.count += len(labels)

    def compute(self) -> float:
        return int(self.right) / int(self.count)

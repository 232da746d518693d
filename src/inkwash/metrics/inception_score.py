"""Inception Score of Salimans et al. 2016, in the classes of the feature extractor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.metrics.base import Batch, Counts, Measure, RealImages
from inkwash.metrics.extractors.base import FeatureExtractor, NotApplicableError
from inkwash.metrics.moments import as_float64, check_finite


class InceptionScore(Measure):
    """exp E_x KL(p(y | x) || p(y)), mean and standard deviation over `splits` equal parts of the images.

    It is computed from the sums of p and p log p in each part, so nothing is stored for an image. The parts are those
    that torch-fidelity draws from the same seed.

    Args:
        num_images, num_classes: number of images, and K; None if a Suite brings them.
        splits: number of parts.
        seed: of the random order that is cut into parts.

    Source: Salimans et al. 2016, section 4.
    """

    keys = ("isc", "isc_std")
    lower_is_better = (False, None)
    count: Tensor
    marginal: Tensor
    entropy: Tensor

    def __init__(
        self, num_images: int | None = None, num_classes: int | None = None, splits: int = 10, seed: int = 2020
    ):
        super().__init__()
        self.splits, self.seed = splits, seed
        if num_images is not None and num_classes is not None:
            self._allocate(num_images, num_classes)

    def check(self, counts: Counts, extractor: FeatureExtractor) -> None:
        if not extractor.scores_classes:
            raise NotApplicableError(f"no Inception Score: {extractor.name} knows no classes")
        if not 1 <= self.splits <= counts.generated:
            raise NotApplicableError(
                f"no Inception Score: {counts.generated} images cannot be cut into {self.splits} parts"
            )

    def prepare(self, real: RealImages, num_images: int) -> None:
        scores = real.extractor.class_scores(torch.zeros(1, real.extractor.dim, device=_device(real.extractor)))
        if scores is None:
            raise NotApplicableError(f"no Inception Score: {real.extractor.name} knows no classes")
        self._allocate(num_images, scores.shape[1])

    def observe(self, batch: Batch) -> None:
        scores = batch.extractor.class_scores(batch.features)
        assert scores is not None
        self.update(batch.index, scores)

    def update(self, index: Sequence[int] | Tensor, logits: Tensor) -> None:
        """Add logits (B, K) of the images `index` (B,) out of 0 .. num_images - 1."""
        check_finite(logits)
        logits = as_float64(logits.detach()).to(self.marginal.device)
        part = self.part[torch.as_tensor(index).cpu()].to(logits.device)
        log_p = logits.log_softmax(dim=1)
        p = log_p.exp()
        self.count.index_add_(0, part, torch.ones_like(part))
        self.marginal.index_add_(0, part, p)
        self.entropy.index_add_(0, part, (p * log_p).sum(dim=1))

    def compute(self) -> dict[str, float]:
        if int(self.count.sum()) != len(self.part):
            raise UserError(f"an Inception Score of {len(self.part)} images, but {int(self.count.sum())} were measured")
        q = self.marginal / self.count[:, None]
        scores = (self.entropy / self.count - torch.special.xlogy(q, q).sum(dim=1)).exp()
        return {"isc": scores.mean().item(), "isc_std": scores.std(correction=0).item()}

    def protocol(self) -> dict[str, Any]:
        return {"splits": self.splits, "seed": self.seed}

    def _allocate(self, num_images: int, num_classes: int) -> None:
        if not 1 <= self.splits <= num_images:
            raise NotApplicableError(f"no Inception Score: {num_images} images cannot be cut into {self.splits} parts")
        order = torch.from_numpy(np.random.RandomState(self.seed).permutation(num_images))
        bounds = torch.arange(1, self.splits + 1) * num_images // self.splits
        self.part = torch.empty_like(order)  # of each image
        self.part[order] = torch.bucketize(torch.arange(num_images), bounds, right=True)
        self.add_state("count", torch.zeros(self.splits, dtype=torch.int64), "sum")
        self.add_state("marginal", torch.zeros(self.splits, num_classes, dtype=torch.float64), "sum")
        self.add_state("entropy", torch.zeros(self.splits, dtype=torch.float64), "sum")


def _device(module: torch.nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))

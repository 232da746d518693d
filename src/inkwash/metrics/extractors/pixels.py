"""The pixels themselves as features, for distances that no network has a say in."""

import math

from torch import Tensor

from inkwash.images import ImageSplit
from inkwash.metrics.extractors.base import FeatureExtractor


class PixelFeatures(FeatureExtractor):
    """uint8 levels (B, C, H, W) -> float32 (B, C * H * W)."""

    name, hash = "pixels", "0" * 12

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        self.dim = math.prod(train.shape)

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()

"""Pixels as features, for distances that depend on no network."""

import math

from torch import Tensor

from inkwash.images import ImageSplit
from inkwash.metrics.extractors.base import FeatureExtractor


class PixelFeatures(FeatureExtractor):
    """The uint8 levels as float32 (B, C * H * W)."""

    name, hash = "pixels", "0" * 12

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        self.dim = math.prod(train.shape)

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()

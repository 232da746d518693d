"""Features of a convolutional network of random weights, which needs neither labels nor a download nor a training."""

import hashlib
import math

import torch
from torch import Tensor, nn

from inkwash.images import ImageSplit, to_float
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.random import generator

WIDTH = 16
LARGEST = 64  # side of an image that is seen at full resolution
SMALLEST = 4  # side of the coarsest level


class RandomFeatures(FeatureExtractor):
    """Mean and standard deviation over the pixels of WIDTH channels, at every level of a network of random weights.

    A level is two 3x3 convolutions with ReLU; means of 2 x 2 pixels are the next one's input, down to a side of
    SMALLEST pixels. The weights are uniform in +-sqrt(6 / inputs), which keeps the size of activations (He et al.
    2015), and come from a fixed seed: they depend on the images' shape alone, so values of different runs and data sets
    compare. Naeem et al. 2020 take randomly initialised networks, too, where ImageNet's features do not fit the images.
    experiments/extractors has the comparison with others by which these were chosen for extractor=auto.
    """

    name = "random"
    preprocessing = f"averaged to {LARGEST} pixels along each longer side, x / 127.5 - 1"

    def __init__(self):
        super().__init__()
        self.levels: nn.ModuleList | None = None

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Draw the weights for these images' shape."""
        if self.levels is not None:
            return
        channels, *sides = train.shape
        count = 1 + max(0, int(math.log2(min(LARGEST, *sides) / SMALLEST)))
        draws, levels = generator("random features"), []
        for _ in range(count):
            levels.append(
                nn.Sequential(_convolution(channels, draws), nn.ReLU(), _convolution(WIDTH, draws), nn.ReLU())
            )
            channels = WIDTH
        self.levels = nn.ModuleList(levels).requires_grad_(False)
        self.dim = 2 * WIDTH * count
        weights = b"".join(parameter.numpy().tobytes() for parameter in self.levels.parameters())
        self.hash = hashlib.sha256(weights).hexdigest()[:12]

    def features(self, images: Tensor) -> Tensor:
        assert self.levels is not None, "call prepare first"
        height, width = (min(side, LARGEST) for side in images.shape[2:])
        x, found = to_float(images), []
        if x.shape[2:] != (height, width):
            x = nn.functional.adaptive_avg_pool2d(x, (height, width))
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else nn.functional.avg_pool2d(x, 2))
            found += [x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)]
        return torch.cat(found, dim=1)


def _convolution(channels: int, draws: torch.Generator) -> nn.Conv2d:
    with torch.device("meta"):  # its own weights would come from the global generator
        layer = nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False)
    uniform = torch.rand(layer.weight.shape, generator=draws)
    layer.weight = nn.Parameter((2 * uniform - 1) * math.sqrt(6 / (9 * channels)))
    return layer

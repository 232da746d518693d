"""Features of Laplacian pyramids, which need neither labels nor a download nor a training."""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkwash.images import ImageSplit, to_float
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.extractors.view import some_of
from inkwash.random import generator

FILTERS = 8
QUARTERS = 2  # of an image, along each axis
THUMBNAIL = 4  # pixels, along each axis
SMALLEST = 8  # side of an image that has a finer level
GREY_LEVEL = 2 / 255
FITTED, FITTED_LEVELS = 2048, 2**31  # images, and levels of them, from which scales are estimated
AT_ONCE = 2**22  # pixels filtered at a time: 128 MiB of responses


class PyramidFeatures(FeatureExtractor):
    """Strength of detail on every level of a Laplacian pyramid (Burt & Adelson 1983), and a thumbnail.

    On each level 8 random filters of 3 x 3 pixels and zero mean respond; the mean of |response| over each quarter of
    the image is a feature, as in the descriptor of Oliva & Torralba 2001. The rest of the pyramid, as 4 x 4 pixels,
    gives the others. Each is divided by its standard deviation over training images, or by one grey level if that is
    more, so that fine detail, which is faint, counts as much as coarse.

    It knows nothing of what a picture shows. experiments/extractors has the comparison with other features, by which it
    was chosen for extractor=auto.
    """

    name = "pyramid"
    preprocessing = "x / 127.5 - 1; features in standard deviations of training images"

    def __init__(self):
        super().__init__()
        self.filters: Tensor | None = None

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Draw the filters, and estimate the features' scales from at most FITTED training images."""
        if self.filters is not None:
            return
        self.filters = _frozen(_filters(train.shape[0]))
        most = min(FITTED, max(256, FITTED_LEVELS // math.prod(train.shape)))
        chosen = some_of(train, most, "pyramid")
        with torch.no_grad():
            parts = [self._raw(train.__getitems__(chosen[i : i + 64])[0]) for i in range(0, len(chosen), 64)]
        features = torch.cat(parts).double()
        # Rounded, so that machines which add in another order have the same scales, and with them the same hash.
        mean, std = (_rounded(x) for x in (features.mean(dim=0), features.std(dim=0, correction=0)))
        self.mean, self.std = _frozen(mean), _frozen(std.clamp(min=GREY_LEVEL))
        self.dim = len(mean)
        tensors = (self.filters, self.mean, self.std)
        self.hash = hashlib.sha256(b"".join(x.detach().numpy().tobytes() for x in tensors)).hexdigest()[:12]

    def features(self, images: Tensor) -> Tensor:
        assert self.filters is not None, "call prepare first"
        return (self._raw(images) - self.mean) / self.std

    def _raw(self, images: Tensor) -> Tensor:
        size = max(1, AT_ONCE // math.prod(images.shape[2:]))
        return torch.cat([self._of(to_float(part)) for part in images.split(size)])

    def _of(self, images: Tensor) -> Tensor:
        assert self.filters is not None
        *levels, rest = pyramid(images)
        found = []
        for level in levels:
            responses = F.conv2d(F.pad(level, (1, 1, 1, 1), mode="replicate"), self.filters)
            found.append(F.adaptive_avg_pool2d(responses.abs(), QUARTERS).flatten(1))
        return torch.cat([*found, F.adaptive_avg_pool2d(rest, THUMBNAIL).flatten(1)], dim=1)


def pyramid(images: Tensor) -> Iterator[Tensor]:
    """Yield the levels of a Laplacian pyramid of (B, C, H, W), fine to coarse, then the rest, with a side below 8."""
    while min(images.shape[2:]) >= SMALLEST:
        coarse = _blurred(images)[:, :, ::2, ::2]
        yield images - F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
        images = coarse
    yield images


def _blurred(images: Tensor) -> Tensor:
    """Blur with the binomial filter (1, 4, 6, 4, 1) / 16 along both axes."""
    C, taps = images.shape[1], torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    rows = F.conv2d(F.pad(images, (2, 2, 0, 0), mode="replicate"), taps.view(1, 1, 1, 5).expand(C, 1, 1, 5), groups=C)
    return F.conv2d(F.pad(rows, (0, 0, 2, 2), mode="replicate"), taps.view(1, 1, 5, 1).expand(C, 1, 5, 1), groups=C)


def _filters(channels: int) -> Tensor:
    """Return random filters (FILTERS, C, 3, 3) of zero mean in each channel and norm 1, from a fixed seed."""
    w = 2 * torch.rand(FILTERS, channels, 3, 3, generator=generator("pyramid"), dtype=torch.float64) - 1
    w -= w.mean(dim=(2, 3), keepdim=True)
    return (w / w.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).float()


def _rounded(x: Tensor) -> Tensor:
    return ((x * 2**14).round() / 2**14).float()


def _frozen(x: Tensor) -> nn.Parameter:
    return nn.Parameter(x, requires_grad=False)

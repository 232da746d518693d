"""Feature extractors: from images to the vectors that metrics compare."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.extractors.weights import Published, find_weights


class NotApplicableError(UserError):
    """The extractor or metric has no meaning for these images; everything else can go on without it."""


class FeatureExtractor(nn.Module):
    """ImageSplit to feature vectors; a new extractor writes `features`, and `prepare` where it has weights to find.

    Attributes:
        name: for metric names and records.
        hash: 12 hexadecimal digits that change with the weights; known after `prepare`.
        dim: length d of a feature vector; known after `prepare`.
        preprocessing: what happens to the uint8 levels first, for records.
        published: the weights that papers use, of an extractor that has such.
        heldout_accuracy: of an extractor that is a classifier of the data set's own classes, else None.
    """

    name: str
    hash: str
    dim: int
    preprocessing: str = "none"
    published: Published | None = None
    heldout_accuracy: float | None = None

    @property
    def label(self) -> str:
        """The extractor in a metric's name: with other weights than the published ones it says so by their hash."""
        if self.published is None or self.published.has_hash(self.hash):
            return self.name
        return f"{self.name}_{self.hash[:4]}"

    @property
    def earns_fid(self) -> bool:
        """Whether a Frechet distance in these features is the FID of the papers."""
        return False

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Find, download or train the weights; called by every rank before the first image, and again at no cost."""

    def features(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, d)."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor | None:
        """Class scores (B, K) from features (B, d), None for extractors that do not know the data set's classes."""
        return None

    def class_scores(self, features: Tensor) -> Tensor | None:
        """Scores (B, K) of whatever classes the extractor was trained on, for the Inception Score; None without any."""
        return self.logits(features)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, d), in full precision whatever autocast surrounds it."""
        if images.dtype != torch.uint8:
            raise TypeError(f"extractors take uint8 images, got {images.dtype}")  # [-1, 1] would look all black
        with torch.autocast(images.device.type, enabled=False):
            return self.features(images)


class PublishedFeatures(FeatureExtractor):
    """Features of one of torch-fidelity's networks, which see colour photographs; a new one writes `load`.

    One channel is repeated to three.

    Args:
        weights_path: the weights file; by default the published one, downloaded once to torch hub's cache.
        weights_hash: sha256 of the file (its first 8 digits or more) where it is not the published one.
    """

    published: Published  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, weights_path: str | None = None, weights_hash: str | None = None):
        super().__init__()
        self.weights_path, self.weights_hash = weights_path, weights_hash
        self.network: nn.Module | None = None

    def load(self, path: Path) -> nn.Module:
        """The network with the weights at `path`: uint8 (B, 3, H, W) -> (features,). Sets `dim` where it varies."""
        raise NotImplementedError

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Load the weights. Raises UserError when they cannot be had, or are another network's."""
        self._check_channels(train.shape[0])
        if self.network is not None:
            return
        path, digest = find_weights(self.published, self.weights_path, self.weights_hash)
        try:
            with torch.random.fork_rng(devices=[]):  # constructors draw weights before they load ours
                self.network = self.load(path)
        except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} holds no weights of {self.published.title}, download it anew: {reason}") from error
        self.hash = digest[:12]

    def features(self, images: Tensor) -> Tensor:
        assert self.network is not None, "call prepare first"
        self._check_channels(images.shape[1])
        return self.network(images.expand(-1, 3, -1, -1))[0]

    def _check_channels(self, channels: int) -> None:
        if channels not in (1, 3):
            raise NotApplicableError(
                f"{self.published.title} sees 1 or 3 channels, not {channels}: use extractor=classifier"
            )

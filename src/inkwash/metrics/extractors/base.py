"""The interface of a feature extractor: uint8 images to the feature vectors that metrics compare."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.images import ImageSplit
from inkwash.metrics.extractors.precision import full_precision
from inkwash.metrics.extractors.weights import Published, find_weights


class NotApplicableError(UserError):
    """The extractor or metric has no meaning for these images; everything else can go on without it."""


class FeatureExtractor(nn.Module):
    """Base class of feature extractors; a new one writes `features`, and `prepare` if it has weights to find.

    Attributes:
        name: for metric names and records.
        hash: 12 hexadecimal digits that change with the weights; known after `prepare`.
        dim: length d of a feature vector; known after `prepare`.
        preprocessing: how the uint8 levels are resized and scaled, for records.
        published: the weights that papers use; None if there are none.
        heldout_accuracy: accuracy on the held-out images, of a classifier of the data set's own classes; else None.
    """

    name: str
    hash: str
    dim: int
    preprocessing: str = "none"
    published: Published | None = None
    heldout_accuracy: float | None = None

    @property
    def label(self) -> str:
        """Name of the extractor in a metric's name, with the hash of its weights unless they are the published ones."""
        if self.published is None or self.published.has_hash(self.hash):
            return self.name
        return f"{self.name}_{self.hash[:4]}"

    @property
    def knows_classes(self) -> bool:
        """True if it has `logits` of the data set's own classes."""
        return type(self).logits is not FeatureExtractor.logits

    @property
    def scores_classes(self) -> bool:
        """True if it has `class_scores`, of whatever classes."""
        return self.knows_classes or type(self).class_scores is not FeatureExtractor.class_scores

    @property
    def doubt(self) -> str | None:
        """A sentence on why its features say little about these images, known after `prepare`; None if they do."""
        return None

    @property
    def earns_fid(self) -> bool:
        """True if a Frechet distance in these features is the FID of the papers."""
        return False

    def chosen(self, train: ImageSplit, heldout: ImageSplit, classes: bool) -> "FeatureExtractor":
        """Return the extractor to prepare and use, itself but for extractor=auto. Every rank calls it.

        Args:
            classes: the labels of the data set are in use.
        """
        return self

    def check(self, train: ImageSplit) -> None:
        """Raise NotApplicableError if it has no meaning for these images, before its weights are there."""

    def is_ready(self, train: ImageSplit, heldout: ImageSplit) -> bool:
        """Return False if `prepare` has to train it first. Raises UserError if it could not be stored then."""
        return True

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Find, download or train the weights. Every rank calls it first; a second call does nothing."""

    def features(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images (B, C, H, W), float32 (B, d)."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor | None:
        """Return logits (B, K) of the data set's classes from features (B, d); None if it does not know them."""
        return None

    def class_scores(self, features: Tensor) -> Tensor | None:
        """Return logits (B, K) of the classes it was trained on, for the Inception Score; None without any."""
        return self.logits(features)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images (B, C, H, W), float32 (B, d), in full precision under any settings."""
        if images.dtype != torch.uint8:
            raise TypeError(f"extractors take uint8 images, got {images.dtype}")  # [-1, 1] would look all black
        with full_precision(images.device):
            return self.features(images)


class PublishedFeatures(FeatureExtractor):
    """Base class of the features of torch-fidelity's networks for colour photographs; a new one writes `load`.

    Images with one channel get it repeated to three.

    Args:
        weights_path: the weights file; None for the published one, downloaded once to torch hub's cache.
        weights_hash: sha256 of the file, its first 8 digits or more, if it is not the published one.
    """

    published: Published  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, weights_path: str | None = None, weights_hash: str | None = None):
        super().__init__()
        self.weights_path, self.weights_hash = weights_path, weights_hash
        self.network: nn.Module | None = None

    def load(self, path: Path) -> nn.Module:
        """Build the network with the weights at `path`: uint8 (B, 3, H, W) -> (features,). Sets `dim` if it varies."""
        raise NotImplementedError

    def check(self, train: ImageSplit) -> None:
        self._check_channels(train.shape[0])

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Load the weights. Raises UserError if they cannot be loaded, or are another network's."""
        self.check(train)
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
                f"{self.published.title} sees 1 or 3 channels, not {channels}: use extractor=classifier, or "
                "extractor=auto"
            )

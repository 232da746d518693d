"""What a feature extractor is, and the one everybody reports: Inception as torch-fidelity runs it."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Protocol

import torch
from filelock import FileLock
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from inkwash.errors import UserError


class ImageSplit(Protocol):
    """A split of a data set: uint8 images (C, H, W) with integer labels, -1 where there is none."""

    @property
    def fingerprint(self) -> str:
        """Names the split's content: equal fingerprints, equal images in equal order."""
        ...

    @property
    def labels(self) -> Tensor: ...  # (n,) int64

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]: ...  # uint8 (B, C, H, W), int64 (B,)


class NotApplicableError(UserError):
    """The extractor has no meaning for these images; training can go on without the metric."""


class FeatureExtractor(nn.Module):
    """ImageSplit to feature vectors; a new extractor writes `features`, and `prepare` where it has weights to find.

    Attributes:
        name: for metric names and records.
        hash: 12 hexadecimal digits that change with the weights; known after `prepare`.
        dim: length d of a feature vector.
        heldout_accuracy: of an extractor that is a classifier of the data set's own classes, else None.
    """

    name: str
    hash: str
    dim: int
    heldout_accuracy: float | None = None

    @property
    def metric_name(self) -> str:
        """What a Frechet distance in these features is called."""
        return f"fd_{self.name}"

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Find, download or train the weights; called by every rank before the first image, and again at no cost."""

    def features(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, d)."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor | None:
        """Class scores (B, K) from features (B, d), None for extractors that do not know the data set's classes."""
        return None

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, d), in full precision whatever autocast surrounds it."""
        if images.dtype != torch.uint8:
            raise TypeError(f"extractors take uint8 images, got {images.dtype}")  # [-1, 1] would look all black
        with torch.autocast(images.device.type, enabled=False):
            return self.features(images)


class InceptionFeatures(FeatureExtractor):
    """The 2048 pooled features of torch-fidelity's InceptionV3, those of Heusel et al. 2017 (the FID).

    One channel is repeated to three; the 299 x 299 resize is TensorFlow 1's, as in the original.

    Args:
        weights_path: the weights file; by default torch-fidelity's, downloaded once to torch hub's cache.
    """

    name = "inception"
    dim = 2048
    official = Path(URL_INCEPTION_V3).stem.rsplit("-", 1)[1]  # torch hub's convention: the sha256 begins so

    def __init__(self, weights_path: str | None = None):
        super().__init__()
        self.weights_path = weights_path
        self.network: FeatureExtractorInceptionV3 | None = None

    @property
    def metric_name(self) -> str:
        return "fid" if self.hash.startswith(self.official) else super().metric_name

    def prepare(self, train: ImageSplit, heldout: ImageSplit) -> None:
        """Load the weights. Raises UserError when they can be neither found nor downloaded, or are not Inception's."""
        _check_channels(train.__getitems__([0])[0])
        if self.network is None:
            path = Path(self.weights_path) if self.weights_path else _downloaded_inception()
            self.network, self.hash = _load_inception(path)

    def features(self, images: Tensor) -> Tensor:
        assert self.network is not None, "call prepare first"
        _check_channels(images)
        return self.network(images.expand(-1, 3, -1, -1))[0]


def _check_channels(images: Tensor) -> None:
    if images.shape[1] not in (1, 3):
        raise NotApplicableError(f"Inception sees 1 or 3 channels, not {images.shape[1]}: use metrics=classifier")


def _load_inception(path: Path) -> tuple[FeatureExtractorInceptionV3, str]:
    """The network with the weights at `path`, and their hash."""
    try:
        content = path.read_bytes()
        # torch-fidelity's constructor unpickles anything. So the same bytes first pass the loader that takes tensors
        # only, which raises on whatever could run code.
        torch.load(io.BytesIO(content), weights_only=True)
        with torch.random.fork_rng(devices=[]):  # the constructor draws weights before it loads ours
            network = FeatureExtractorInceptionV3("inception", ["2048"], io.BytesIO(content))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} holds no weights of torch-fidelity's Inception, download it anew: {reason}") from error
    return network, hashlib.sha256(content).hexdigest()[:12]


def _downloaded_inception() -> Path:
    """Where torch hub keeps torch-fidelity's weights, downloaded and checked first by one process of this node."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)
    if path.exists():  # it appears whole, by a rename; its folder may be read-only
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), InceptionFeatures.official, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Inception's weights cannot be downloaded ({error}): put {URL_INCEPTION_V3} at {path}, "
            "set metrics.weights_path to a copy of it, or use metrics=classifier"
        ) from error
    return path

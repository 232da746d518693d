"""InceptionV3 as torch-fidelity runs it: the extractor of the FID."""

import io
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from inkwash.metrics.extractors.base import PublishedFeatures
from inkwash.metrics.extractors.weights import Published


class InceptionFeatures(PublishedFeatures):
    """The 2048 pooled features of torch-fidelity's InceptionV3, those of Heusel et al. 2017 (the FID)."""

    name = "inception"
    dim = 2048
    preprocessing = "TensorFlow 1's bilinear resize to 299 x 299, x / 128 - 1"
    published = Published(
        "torch-fidelity's Inception",
        URL_INCEPTION_V3,
        Path(URL_INCEPTION_V3).stem.rsplit("-", 1)[1],  # torch hub's convention: the first digits of the sha256
        Path(URL_INCEPTION_V3).name,
    )

    @property
    def earns_fid(self) -> bool:
        return self.published.has_hash(self.hash)

    def load(self, path: Path) -> FeatureExtractorInceptionV3:
        content = path.read_bytes()
        # torch-fidelity's constructor unpickles without restriction. So the same bytes are first loaded by the loader
        # for tensors alone, which raises an error for anything that could run code.
        torch.load(io.BytesIO(content), weights_only=True)
        return FeatureExtractorInceptionV3("inception", ["2048"], io.BytesIO(content))

    @torch.no_grad()
    def class_scores(self, features: Tensor) -> Tensor:
        """Return the 1008 logits without their bias, which the code of Salimans et al. 2016 leaves out, too."""
        assert isinstance(self.network, FeatureExtractorInceptionV3), "call prepare first"
        return features @ self.network.fc.weight.T

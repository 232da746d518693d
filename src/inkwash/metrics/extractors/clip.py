"""Image features of CLIP as torch-fidelity computes them."""

import warnings
from pathlib import Path

from torch import nn
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP

from inkwash.metrics.extractors.base import PublishedFeatures
from inkwash.metrics.extractors.weights import Published

MODEL = "clip-vit-b-32"


class CLIPFeatures(PublishedFeatures):
    """The image embedding of CLIP ViT-B/32 (Radford et al. 2021), as in Kynkaanniemi et al. 2023.

    OpenAI's files of its other vision transformers work, too, with their hash: sizes are read from the file.
    """

    name = "clip"
    preprocessing = "TensorFlow 1's bilinear resize to the network's size, CLIP's mean and standard deviation"
    published = Published(
        "CLIP ViT-B/32", MODEL_URLS[MODEL], MODEL_METADATA[MODEL]["hash"], f"{MODEL}-{MODEL_METADATA[MODEL]['hash']}.pt"
    )

    def load(self, path: Path) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript, the format of OpenAI's files, is deprecated
            network = FeatureExtractorCLIP(MODEL, ["clip"], str(path))
        self.dim = network.model.visual.output_dim
        return network

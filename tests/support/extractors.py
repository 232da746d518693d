"""A small fixed network as our extractor and as torch-fidelity's, so that both compute the same features."""

import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from inkwash.metrics.extractors.base import FeatureExtractor

DIM, CLASSES = 12, 7


def small_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, DIM, 3, 2), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        head = nn.Linear(DIM, CLASSES, bias=False)
        nn.init.normal_(network[0].weight, std=2.0)
        nn.init.normal_(head.weight, std=20.0)
    return network.requires_grad_(False), head.requires_grad_(False)


class SmallExtractor(FeatureExtractor):
    name, hash, dim = "small", "0123456789ab", DIM

    def __init__(self):
        super().__init__()
        self.network, self.head = small_network()
        self.looks = 0

    def features(self, images):
        self.looks += len(images)
        return self.network(images / 255)

    def class_scores(self, features):
        return self.head(features)


class FidelityExtractor(FeatureExtractorBase):
    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.network, self.head = small_network()

    @staticmethod
    def get_provided_features_list():
        return "features", "scores"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "scores" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        features = self.network(images / 255)
        out = {"features": features, "scores": self.head(features)}
        return tuple(out[name] for name in self.features_list)

"""The digits and one classifier of them, trained once for all tests of the metrics."""

import pytest
import torch

from inkwash.data.digits import Digits
from inkwash.metrics.extractors.classifier import ClassifierFeatures


@pytest.fixture(scope="session")
def train():
    return Digits().load("train", (1, 8, 8))


@pytest.fixture(scope="session")
def heldout():
    return Digits().load("heldout", (1, 8, 8))


@pytest.fixture(scope="session")
def classifier_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture(scope="session")
def classifier(train, heldout, classifier_cache):
    extractor = ClassifierFeatures(str(classifier_cache))
    before = torch.get_rng_state()
    extractor.prepare(train, heldout)
    extractor.rng_untouched = torch.equal(before, torch.get_rng_state())  # of the call that really trained
    return extractor

"""The digits and one classifier of them, trained once for all tests of the metrics."""

import pytest

from inkwash.data.digits import Digits
from inkwash.metrics.extractors.classifier import ClassifierFeatures


@pytest.fixture(scope="session")
def train():
    return Digits().load("train", (1, 8, 8))


@pytest.fixture(scope="session")
def heldout():
    return Digits().load("heldout", (1, 8, 8))


@pytest.fixture(scope="session")
def classifier_cache(data_dir):
    """Where the commands of other tests look too, so that one process of all trains it."""
    return data_dir / "cache"


@pytest.fixture(scope="session")
def classifier(train, heldout, classifier_cache):
    extractor = ClassifierFeatures(str(classifier_cache))
    extractor.prepare(train, heldout)
    return extractor

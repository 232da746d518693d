import inspect
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_class

from inkwash.metrics.base import Measure
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.extractors.clip import CLIPFeatures
from inkwash.metrics.extractors.dinov2 import DINOv2Features
from inkwash.metrics.extractors.inception import InceptionFeatures
from inkwash.metrics.record import MetricRecord, frechet_name, metric_name

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("n", "count"), [(10_000, "10k"), (50_000, "50k"), (2000, "2k"), (1350, "1350"), (450, "450"), (10_500, "10500")]
)
def test_names_tell_extractor_and_number(n, count):
    inception, other = InceptionFeatures(), FeatureExtractor()
    inception.hash, other.hash, other.name = "6726825d0af5", "6726825d0af5", "classifier"
    assert frechet_name(inception, n) == f"fid_{count}"
    assert frechet_name(other, n) == f"fd_classifier_{count}"
    assert metric_name("fd_infinity", inception, n) == f"fid_infinity_{count}"
    assert metric_name("fd_infinity", other, n) == f"fd_infinity_classifier_{count}"
    assert metric_name("kid", inception, n) == f"kid_inception_{count}"
    inception.hash = "0123456789ab"  # other weights in the same network
    assert frechet_name(inception, n) == f"fd_inception_0123_{count}"
    assert metric_name("kid", inception, n) == f"kid_inception_0123_{count}"


@pytest.mark.parametrize("extractor", [DINOv2Features(), CLIPFeatures()], ids=lambda e: e.name)
def test_no_other_extractor_makes_a_fid(extractor):
    extractor.hash = extractor.published.sha256[:12]
    assert frechet_name(extractor, 10_000) == f"fd_{extractor.name}_10k"
    extractor.hash = InceptionFeatures.published.sha256 + "0af5"
    assert frechet_name(extractor, 10_000) == f"fd_{extractor.name}_6726_10k"


def test_a_record_is_plain():
    record = MetricRecord("fd_classifier_2k", 0.5, 450, 2000, "classifier", "0a", "heldout", "ema", "ddim", 50, 1.0)
    assert json.loads(json.dumps(asdict(record)))["n_fake"] == 2000


@pytest.mark.parametrize("path", sorted((CONF / "extractor").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_extractor_yaml_has_all_its_arguments(path):
    node = yaml.safe_load(path.read_text())
    extractor = get_class(node.pop("_target_"))
    assert issubclass(extractor, FeatureExtractor)
    assert set(node) == set(inspect.signature(extractor).parameters)
    assert extractor.name == path.stem


BROUGHT = {"real", "reference", "train", "heldout", "num_images", "num_classes", "extractor"}  # by a Suite


@pytest.mark.parametrize("path", sorted((CONF / "metrics").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_metric_yaml_has_all_its_settings(path):
    node = yaml.safe_load(path.read_text())
    metric = get_class(node.pop("_target_"))
    assert issubclass(metric, Measure)
    assert metric.keys
    assert set(node) - BROUGHT == set(inspect.signature(metric).parameters) - BROUGHT

"""Test that Lightning and the digits come without heavy modules, and that nothing of torchmetrics is lost."""

import json
import subprocess
import sys

import pytest
import torchmetrics

CODE = """
import json, sys
from inkwash.launch import quick_imports

quick_imports.defer()
import lightning
import torchmetrics

HEAVY = ("torchvision", "scipy.signal", "matplotlib", "sklearn")
found = {"first": [name for name in HEAVY if name in sys.modules]}
from inkwash.data.digits import Digits

Digits().load("train", (1, 8, 8))
found["version"] = torchmetrics.__version__
metric = lightning.pytorch.core.module.Metric
found["late"] = [name for name in HEAVY if name in sys.modules]

import matplotlib

matplotlib.use("Agg")
mean = torchmetrics.MeanMetric()
mean.update(3.0)
found["points"] = [line.get_ydata().tolist() for line in mean.plot()[1].lines]
from torchmetrics.image import FrechetInceptionDistance

found["same"] = metric is torchmetrics.Metric and issubclass(FrechetInceptionDistance, metric)
found["names"] = [name for name in torchmetrics.__all__ if hasattr(torchmetrics, name)]
found["unknown"] = hasattr(torchmetrics, "Nothing")
quick_imports.defer()
found["again"] = sys.modules["torchmetrics"] is torchmetrics
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_lightning_is_imported_without_what_only_other_metrics_need(found):
    assert found["first"] == found["late"] == []


def test_torchmetrics_is_whole_once_it_is_asked_for_more(found):
    assert found["names"] == torchmetrics.__all__
    assert found["version"] == torchmetrics.__version__
    assert found["same"]
    assert not found["unknown"]


def test_a_metric_can_be_plotted(found):
    assert found["points"] == [[3.0]]


def test_what_has_been_imported_is_left_alone(found):
    assert found["again"]

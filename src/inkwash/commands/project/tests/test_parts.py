"""Each part does what its docstring says, and all of them train together."""

import subprocess
import sys

import inkwash
import pytest
import torch
from hydra.utils import instantiate

from studio.data import Stripes
from studio.metric import Brightness
from studio.network import Pointwise
from studio.schedule import PowerSchedule


@pytest.mark.parametrize("num_classes", [None, 2])
def test_the_network_keeps_the_shape(num_classes):
    net = Pointwise((3, 8, 8), width=4, num_classes=num_classes)
    labels = None if num_classes is None else torch.tensor([-1, 1])
    assert net(torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 1000.0]), labels).shape == (2, 3, 8, 8)


def test_the_schedule_begins_with_clean_images():
    alpha, sigma = PowerSchedule(2.0)(torch.tensor([0.0, 0.5, 1.0]))
    assert alpha.flatten().tolist() == [1, 0.75, 0]
    assert sigma.flatten().tolist() == [0, 0.25, 1]


def test_the_data_has_two_classes():
    images = Stripes(8).load("train", (1, 4, 4), None)
    pixels, labels = images.__getitems__([0, 1])
    assert pixels[:, 0, 0].tolist() == [[0, 255, 0, 255], [0, 0, 255, 255]]
    assert labels.tolist() == [0, 1]


def test_the_metric_is_the_mean():
    metric = Brightness()
    metric.update(torch.full((2, 1, 4, 4), 10, dtype=torch.uint8))
    metric.update(torch.full((2, 1, 4, 4), 30, dtype=torch.uint8))
    assert metric.compute() == 20


def test_the_experiment_is_of_these_parts():
    config = inkwash.compose("experiment=first")
    assert isinstance(instantiate(config.model), Pointwise)
    assert isinstance(instantiate(config.schedule), PowerSchedule)


def test_two_steps(tmp_path):
    """The whole of it, as the command line runs it."""
    command = [sys.executable, "-m", "inkwash", "train", "experiment=first", "debug=fast", "trainer.max_steps=2"]
    small = ["run=two", "extractor=pyramid", "callbacks.weight_norm.every_n_steps=1", "trainer.accelerator=cpu"]
    done = subprocess.run([*command, *small], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    header, *rows = (tmp_path / "runs" / "two" / "metrics.csv").read_text().splitlines()
    assert "weights/norm" in header.split(",")
    assert [row.split(",")[0] for row in rows][-2:] == ["1", "2"]

"""A new network, schedule, sampler, data source, metric or extractor is one class and one YAML.

The package `studio` and its folder of YAMLs are written into a temporary directory. INKWASH_CONF names that folder, and
an inkwash.yaml in it says that configurations may name the classes of `studio`, and where Python finds it.
"""

import json
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from inkwash import load_run
from support.runs import environment

CLASSES = '''
import torch
from torch import nn

from inkwash.data.images import Images
from inkwash.metrics.base import Measure
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.process.schedules import Schedule
from inkwash.samplers.base import Sampler


class Stripes:
    """Vertical stripes of two widths, which are the classes; no pixel is brighter than `level`."""

    def __init__(self, level: int):
        self.level = level

    def load(self, split, shape, path):
        labels = torch.arange(40 if split == "train" else 20) % 2
        columns = torch.arange(shape[2])[None] // (labels[:, None] + 1) % 2
        images = (self.level * columns)[:, None, None].expand(-1, *shape)
        return Images(images.contiguous().to(torch.uint8), labels)


class Pointwise(nn.Module):
    """Two layers at each pixel, which see the pixel, the time and the class."""

    def __init__(self, shape, width: int, num_classes: int | None):
        super().__init__()
        self.num_classes = num_classes
        self.label = nn.Embedding((num_classes or 0) + 1, width)
        self.first, self.last = nn.Conv2d(shape[0] + 1, width, 1), nn.Conv2d(width, shape[0], 1)

    def forward(self, x, time, y):
        time = (time / 1000)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        label = self.label(y + 1)[:, :, None, None]  # -1 stands for no class
        return self.last(torch.tanh(self.first(torch.cat([x, time], 1)) + label))


class PowerSchedule(Schedule):
    """alpha = 1 - t^power, sigma = t^power."""

    def __init__(self, power: float):
        super().__init__()
        self.power, self.t_min, self.t_max = power, 0.01, 1.0

    def forward(self, t):
        sigma = t.double().view(-1, 1, 1, 1) ** self.power
        return 1 - sigma, sigma

    def time_input(self, t):
        return (1000 * t).float()


class Constant(Sampler):
    """Images of one value, drawn with as many calls of the network as there are steps."""

    def __init__(self, spacing, value: float):
        super().__init__(spacing)
        self.value = value

    def step(self, x_t, t, s, run):
        run.denoise(x_t, t)
        return torch.full_like(x_t, self.value)


class ColumnMeans(FeatureExtractor):
    """The mean of each column of pixels."""

    name, hash = "columns", "0123456789ab"

    def prepare(self, train, heldout):
        self.dim = train.shape[0] * train.shape[2]

    def features(self, images):
        return images.float().mean(2).flatten(1)


class Brightness(Measure):
    """The mean of all pixels, in 0 .. 255 / unit."""

    keys = ("brightness",)
    lower_is_better = False

    def __init__(self, unit: float):
        super().__init__()
        self.unit = unit
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), "sum")
        self.add_state("pixels", torch.tensor(0), "sum")

    def observe(self, seen):
        self.update(seen.images)

    def update(self, images):
        self.total += images.sum(dtype=torch.float64)
        self.pixels += images.numel()

    def compute(self):
        return float(self.total) / int(self.pixels) / self.unit

    def protocol(self):
        return {"unit": self.unit}
'''
CONF = {
    "data": """
        _target_: inkwash.data.module.ImageDataModule
        source: {_target_: studio.parts.Stripes, level: 200}
        shape: [1, 8, 8]
        num_classes: 2
        batch_size: 8
        seed: ${seed}
        """,
    "model": "{_target_: studio.parts.Pointwise, shape: '${data.shape}', width: 6, num_classes: '${data.num_classes}'}",
    "schedule": "{_target_: studio.parts.PowerSchedule, power: 2.0}",
    "sampler": "{_target_: studio.parts.Constant, spacing: '${spacing}', value: 0.2}",
    "extractor": "{_target_: studio.parts.ColumnMeans}",
    "metrics": "# @package metrics.brightness\n{_target_: studio.parts.Brightness, unit: 2.0}",
}
# A pixel of 0.2 in [-1, 1] is the level 153 of 0 .. 255.
LEVEL = round((0.2 + 1) / 2 * 255)


def command(name, *arguments, cwd):
    result = subprocess.run(
        [sys.executable, "-m", "inkwash", name, *arguments], cwd=cwd, capture_output=True, text=True,
        env=environment(INKWASH_TRUST="", INKWASH_CONF="conf"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two steps, with one new part of each kind."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "studio").mkdir()
    (folder / "studio" / "__init__.py").touch()
    (folder / "studio" / "parts.py").write_text(CLASSES)
    for group, text in CONF.items():
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / "stripes.yaml").write_text(textwrap.dedent(text))
    (folder / "conf" / "inkwash.yaml").write_text("trust: [studio]\npath: ..\n")
    command(
        "train", "debug=fast", "logger=csv", "trainer=cpu", "trainer.precision=32-true", "data=stripes",
        "model=stripes", "schedule=stripes", "schedule.power=3", "sampler=stripes", "metrics=[stripes]",
        "extractor=stripes", "trainer.threads=1", "run=new",
        cwd=folder,
    )  # fmt: skip
    return folder


@pytest.fixture
def load(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("INKWASH_TRUST", "")
    monkeypatch.setenv("INKWASH_CONF", str(folder / "conf"))
    return lambda: load_run(folder / "runs" / "new")


def test_all_of_them_are_in_the_configuration(folder):
    config = yaml.safe_load((folder / "runs/new/config.yaml").read_text())
    assert config["schedule"] == {"_target_": "studio.parts.PowerSchedule", "power": 3}
    assert config["model"]["_target_"] == "studio.parts.Pointwise"
    assert config["data"]["source"] == {"_target_": "studio.parts.Stripes", "level": 200}
    assert config["callbacks"]["samples"]["sampler"]["value"] == 0.2
    assert config["callbacks"]["evaluation"]["metrics"] == {
        "brightness": {"_target_": "studio.parts.Brightness", "unit": 2.0}
    }


def test_the_metric_measured_what_the_sampler_drew(folder):
    """And it is the metric by which best.ckpt is chosen, the larger the better."""
    summary = json.loads((folder / "runs/new/summary.json").read_text())
    assert {name: value["value"] for name, value in summary["metrics"].items()} == {"brightness_columns_8": LEVEL / 2}
    (record,) = [json.loads(line) for line in (folder / "runs/new/metrics.jsonl").read_text().splitlines()]
    assert record["name"] == "brightness_columns_8"
    assert record["protocol"] == {"unit": 2.0}
    assert "Constant" in record["sampler"]
    assert record["extractor"] == "columns"
    assert record["lower_is_better"] is False
    best = torch.load(folder / "runs/new/checkpoints/best.ckpt", weights_only=True)
    (state,) = [state for name, state in best["callbacks"].items() if name.startswith("BestCheckpoint")]
    assert state == {"name": "brightness_columns_8", "best": LEVEL / 2}


def test_the_network_and_the_schedule_load_again(load):
    run = load()
    assert type(run.denoiser.net).__name__ == "Pointwise"
    alpha, sigma = run.denoiser.schedule(torch.tensor([0.5], dtype=torch.float64))
    assert (alpha.item(), sigma.item()) == (1 - 0.5**3, 0.5**3)
    assert run.num_classes == 2
    weights = [p for p in run.denoiser.net.parameters() if p.numel() == 6 * 2]
    assert all(math.isfinite(float(p.sum())) for p in weights)


@pytest.mark.slow
def test_the_command_samples_with_the_new_sampler(folder):
    command("sample", "run=new", "sampler=stripes", "sampler.value=-1", "num_images=4", "out=drawn", cwd=folder)
    images = [np.asarray(Image.open(path)) for path in (folder / "drawn" / "images").glob("*.png")]
    assert len(images) == 4
    assert not np.any(images)


@pytest.mark.slow
def test_the_command_evaluates_with_the_new_metric(folder):
    command(
        "evaluate", "run=new", "metrics=[stripes]", "num_images=6", "sampler=stripes", "sampler.value=1",
        "trainer.accelerator=cpu", "trainer.devices=1", "trainer.threads=1", "out=measured", cwd=folder,
    )  # fmt: skip
    table = (folder / "measured" / "table.json").read_text()
    (row,) = json.loads(table)["rows"] if isinstance(json.loads(table), dict) else json.loads(table)
    assert row["metrics"]["brightness_columns_6"] == 255 / 2

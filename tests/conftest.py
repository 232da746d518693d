"""Shared by all tests: one folder for caches, small denoisers with known answers."""

import json
import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from inkwash.commands import train
from inkwash.config.paths import config_dir
from inkwash.config.validate import check
from inkwash.denoiser import Estimate
from inkwash.process.schedules import Schedule
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import provenance

# Threads of small operations that wait for a busy core cost far more than they bring; the suite's processes inherit it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Configurations may name these modules of the tests.
os.environ["INKWASH_TRUST"] = "fakes"


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory) -> Path:
    """Caches (the metrics' classifier among them) are made once a session, outside the checkout."""
    base = tmp_path_factory.getbasetemp()
    # The workers of a parallel session share one folder; what they make there they make behind locks.
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data"
    path.mkdir(exist_ok=True)
    os.environ["INKWASH_DATA"] = str(path)
    os.environ["WANDB_MODE"] = "offline"
    return path


class GaussianDenoiser(nn.Module):
    """The exact posterior mean E[x_0 | x_t] for data N(mu, s^2 I), on any path."""

    def __init__(self, schedule: Schedule, mu: float, s: float):
        super().__init__()
        self.schedule, self.mu, self.s = schedule, mu, s

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        alpha, sigma = (c.to(x_t.dtype) for c in self.schedule(t))
        gain = alpha * self.s**2 / (alpha**2 * self.s**2 + sigma**2)
        x_0 = self.mu + gain * (x_t - alpha * self.mu)
        return Estimate(x_0, (x_t - alpha * x_0) / sigma)


@pytest.fixture(scope="session")
def gaussian_denoiser():
    return GaussianDenoiser


class PixelNoise:
    """Standard normal float64 images from one generator: quicker than one for each image."""

    def __init__(self, n: int, seed: int = 0):
        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def __call__(self) -> Tensor:
        return torch.randn(self.n, 1, 1, 1, generator=self.generator, dtype=torch.float64)


@pytest.fixture(scope="session")
def pixel_noise():
    return PixelNoise


def composed(*overrides: str, config_name: str = "train") -> dict:
    """The resolved configuration that a command line would give, checked as the launcher checks it."""
    assert train  # its import makes the schema and the resolver known
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose(config_name, list(overrides))
    check(config)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain


@pytest.fixture(scope="session")
def compose_config():
    return composed


def write_run(directory: Path, *overrides: str) -> Path:
    """A run directory as the launcher leaves it for the ranks."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in composed(*overrides).items() if key not in ("run", "sweep", "resume")}
    RunDirectory(directory).write_config(config)
    about = {"id": "testrun1", "overrides": list(overrides), "sweep": None, "resume": "auto", **provenance()}
    (directory / "run.json").write_text(json.dumps(about))
    return directory


# Seconds of training on a tiny network; what a test needs more of it overrides.
QUICK = (
    "debug=fast", "logger=csv", "trainer=cpu", "trainer.precision=32-true", "model.channels=8", "data.batch_size=16",
)  # fmt: skip


@pytest.fixture(scope="session")
def quick_run_in():
    """quick_run_in(directory, *overrides): the directory of a run that is about to start."""
    return lambda directory, *overrides: write_run(directory, *QUICK, *overrides)


@pytest.fixture
def quick_run(tmp_path, quick_run_in):
    """quick_run(name, *overrides): the same in a temporary folder."""
    return lambda name, *overrides: quick_run_in(tmp_path / name, *overrides)


@pytest.fixture
def fit_run(quick_run):
    """fit_run(name, *overrides): train in this process; returns (directory, trainer, module)."""
    from inkwash.jobs.train import train as fit

    def run(name: str, *overrides: str):
        directory = quick_run(name, *overrides)
        return directory, *fit(directory)

    return run

"""Fixtures of all tests: a folder for caches, configurations, run directories, denoisers with known answers."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from inkwash.launch import quick_imports

quick_imports.defer()  # as in every rank

from support.analytic import GaussianDenoiser, PixelNoise
from support.runs import composed, quick, write_run

# Threads of small operations that wait for a busy core cost far more than they bring; the suite's processes inherit it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Configurations may name the classes of tests/support.
os.environ["INKWASH_TRUST"] = "support"


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


@pytest.fixture(scope="session")
def gaussian_denoiser():
    return GaussianDenoiser


@pytest.fixture(scope="session")
def pixel_noise():
    return PixelNoise


@pytest.fixture(scope="session")
def compose_config():
    return composed


@pytest.fixture(scope="session")
def quick_run_in():
    """quick_run_in(directory, *overrides): the directory of a run that is about to start."""
    return lambda directory, *overrides: write_run(directory, *quick(*overrides), *overrides)


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


@pytest.hookimpl(tryfirst=True)  # before cases marked slow are left out
def pytest_collection_modifyitems(items):
    """Mark cases of a `sampled` test slow, but the first of every `every`."""
    count = Counter()
    for item in items:
        if sampled := item.get_closest_marker("sampled"):
            test = item.nodeid.partition("[")[0]
            if count[test] % sampled.kwargs["every"]:
                item.add_marker(pytest.mark.slow)
            count[test] += 1

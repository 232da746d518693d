"""Shared by all tests: one folder for caches, small denoisers with known answers."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inkwash.process.schedules import Schedule


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory) -> Path:
    """Caches (the metrics' classifier among them) are made once a session, outside the checkout."""
    path = tmp_path_factory.mktemp("data")
    os.environ["INKWASH_DATA"] = str(path)
    os.environ["WANDB_MODE"] = "offline"
    return path


class GaussianDenoiser(nn.Module):
    """The exact posterior mean E[x_0 | x_t] for data N(mu, s^2 I), on any path."""

    def __init__(self, schedule: Schedule, mu: float, s: float):
        super().__init__()
        self.schedule, self.mu, self.s = schedule, mu, s

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        alpha, sigma = (c.to(x_t.dtype) for c in self.schedule(t))
        gain = alpha * self.s**2 / (alpha**2 * self.s**2 + sigma**2)
        x_0 = self.mu + gain * (x_t - alpha * self.mu)
        return x_0, (x_t - alpha * x_0) / sigma


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

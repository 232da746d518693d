"""The samplers of conf/sampler, a spacing for tests of their order, and a sampler that no table can hold."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

import hydra_plugins.inkwash.schemas  # noqa: F401 - knows ${pixel_clip:}
from inkwash.config.paths import config_dir
from inkwash.process.schedules import Schedule
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler
from inkwash.samplers.clipping import Clip

SAMPLERS = {path.stem: path for path in sorted((Path(config_dir()) / "sampler").glob("*.yaml"))}


def sampler_of(name: str, spacing: Spacing | None, **arguments: Any) -> Sampler:
    """Return the sampler of a YAML, with other arguments where given."""
    node = OmegaConf.load(SAMPLERS[name])
    node.spacing = None
    return instantiate(node, spacing=spacing, _convert_="all", **arguments)


class Between(Spacing):
    """Even steps between two inner times: the order of a method shows where the solution is smooth."""

    def __init__(self, high: float, low: float, steps: int):
        super().__init__(steps)
        self.high, self.low = high, low

    def __call__(self, schedule: Schedule) -> Tensor:
        times = torch.linspace(self.high, self.low, (self.steps or 1) + 1, dtype=torch.float64)
        return times.round() if schedule.discrete else times

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        raise NotImplementedError


class Stubborn(Sampler):
    """A sampler that does more than add images: it goes on until they are small enough."""

    def step(self, x_t, t, s, run):
        x_0, eps = run.denoise(x_t, t)
        while float(x_0.square().mean()) > 0.01:
            x_0 = 0.9 * x_0.tanh()
        return x_0 + eps


class Halved(Clip):
    """A clip that no other program knows."""

    def __call__(self, x_0):
        return x_0 / 2

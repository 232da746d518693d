"""From a resolved configuration to objects."""

import functools
from typing import Any

import torch
from hydra.utils import instantiate

from inkwash.denoiser import Denoiser
from inkwash.random import seed_of
from inkwash.training.module import DiffusionModule


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain containers inside."""
    return instantiate(node, _convert_="all", **more)


def build_denoiser(config: dict[str, Any]) -> Denoiser:
    """The network on its path, initialised from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config["seed"], "weights"))
        return Denoiser(build(config["model"]), build(config["schedule"]), build(config["prediction"]))


def build_module(config: dict[str, Any]) -> DiffusionModule:
    """The LightningModule of a configuration, which it keeps for its checkpoints."""
    optimizer = build(config["optimizer"])
    module = DiffusionModule(
        build_denoiser(config),
        loss=build(config["loss"]),
        # Hydra's partial costs hundreds of Python calls; a plain one does not.
        optimizer=functools.partial(optimizer.func, *optimizer.args, **optimizer.keywords),
        learning_rate=build(config["learning_rate"]),
        decay=build(config["ema"]),
        seed=config["seed"],
    )
    module.config = config
    return module

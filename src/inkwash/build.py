"""From a resolved configuration to objects."""

import functools
import inspect
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from inkwash.check import refuse_strangers
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.random import seed_of
from inkwash.training.module import DiffusionModule


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain containers inside.

    Raises:
        UserError: something in it may not be called, or does not take its arguments.
    """
    refuse_strangers(node)
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, TypeError) and "argument" in str(error.__cause__):
            raise UserError(f"{node.get('_target_')}: {error.__cause__}") from error
        raise


def build_denoiser(config: dict[str, Any]) -> Denoiser:
    """The network on its path, initialised from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config["seed"], "weights"))
        return Denoiser(build(config["model"]), build(config["schedule"]), build(config["prediction"]))


def build_module(config: dict[str, Any]) -> DiffusionModule:
    """The LightningModule of a configuration, which it keeps for its checkpoints."""
    optimizer = build(config["optimizer"])
    try:
        inspect.signature(optimizer.func).bind([], **optimizer.keywords)
    except TypeError as error:
        raise UserError(f"optimizer: {config['optimizer']['_target_']}: {error}") from error
    denoiser, loss = build_denoiser(config), build(config["loss"])
    loss.check(denoiser, bool(config["model"].get("learn_variance")))
    module = DiffusionModule(
        denoiser,
        loss=loss,
        # Hydra's partial costs hundreds of Python calls; a plain one does not.
        optimizer=functools.partial(optimizer.func, *optimizer.args, **optimizer.keywords),
        learning_rate=build(config["learning_rate"]),
        decay=build(config["ema"]),
        averages=build(config.get("averages") or {}),
        seed=config["seed"],
    )
    module.config = config
    return module

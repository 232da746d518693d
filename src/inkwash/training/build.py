"""Build the denoiser and the LightningModule that a configuration describes."""

import functools
from pathlib import Path
from typing import Any

import torch

from inkwash.autoencoders.base import Autoencoder
from inkwash.config.instantiate import OF_VALUES, build, first_line, plain_arguments
from inkwash.data.augment import check_augment
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.random import seed_of
from inkwash.training.module import DiffusionModule


def build_autoencoder(config: dict[str, Any], kept: Path | None = None) -> Autoencoder | None:
    """Return the autoencoder of a configuration, not normalised yet; None for a network that sees pixels.

    Args:
        kept: the folder of a run that keeps its autoencoder, if it does: then autoencoder.path need not exist.
    """
    node = config.get("autoencoder")
    if node is None:
        return None
    if kept is not None and "path" in node and kept.is_dir():
        node = {**node, "path": str(kept)}
    return build(node)


def build_denoiser(config: dict[str, Any]) -> Denoiser:
    """Return the denoiser of a configuration, its network initialised from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config["seed"], "weights"))
        return Denoiser(build(config["model"]), build(config["schedule"]), build(config["prediction"]))


def build_module(config: dict[str, Any]) -> DiffusionModule:
    """Return the LightningModule of a configuration, which it keeps for its checkpoints.

    Raises:
        UserError: optimizer, model, loss and schedule do not fit together.
    """
    optimizer = build(config["optimizer"])
    denoiser, loss = build_denoiser(config), build(config["loss"])
    loss.check(denoiser, bool(config["model"].get("learn_variance")))
    augment = build(config["augment"]) if config.get("augment") else None
    check_augment(augment, denoiser.net, loss)
    module = DiffusionModule(
        denoiser,
        loss=loss,
        # Hydra's partial costs hundreds of Python calls; a plain one does not.
        optimizer=functools.partial(optimizer.func, *optimizer.args, **optimizer.keywords),
        learning_rate=build(config["learning_rate"]),
        decay=build(config["ema"]),
        averages=build(config.get("averages") or {}),
        seed=config["seed"],
        augment=augment,
    )
    try:
        module.new_optimizer()
    except OF_VALUES as error:
        raise UserError(f"optimizer with {plain_arguments(config['optimizer'])}: {first_line(error)}") from error
    module.config = config
    return module

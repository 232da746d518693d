"""From a resolved configuration to objects."""

import functools
import re
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import MissingMandatoryValue
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError, user_error
from inkwash.random import seed_of
from inkwash.targets import OF_HYDRA, TRUSTED, check_arguments, refuse_strangers, shown
from inkwash.training.module import DiffusionModule

KNOWN = ("inkwash.", *TRUSTED)
# What constructors of ours, torch and Lightning raise over values that they cannot use.
OF_VALUES = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, AttributeError, RuntimeError)


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain containers inside.

    Raises:
        UserError: something in it may not be called, or cannot be called with its arguments.
    """
    refuse_strangers(node)
    check_arguments(node)
    try:
        return instantiate(node, _convert_="all", **more)
    except MissingMandatoryValue as error:  # of an imported run, which knows no images
        raise UserError(f"{error.full_key or error.key} of {node['_target_']} has no value") from error
    except InstantiationException as error:
        if mistake := user_error(error):
            raise mistake from None
        part = _part(node, str(error))
        target = str(part.get("_target_"))
        if error.__cause__ is None:  # there is no such name in torch or Lightning
            raise UserError(_first_line(error)) from error
        if target.startswith(KNOWN) and isinstance(error.__cause__, OF_VALUES):
            raise UserError(f"{target} with {_given(part)}: {_first_line(error.__cause__)}") from error
        raise  # somebody's own class, whose traceback they want


def _part(node: dict[str, Any], text: str) -> dict[str, Any]:
    """The node within a node that Hydra's error is of."""
    key = re.search(r"full_key: (\S+)", text)
    part: Any = node
    for name in key[1].split(".") if key else ():
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else node


def _given(node: dict[str, Any]) -> str:
    """The arguments that are no nodes of their own."""
    plain = {name: value for name, value in node.items() if name not in OF_HYDRA and not isinstance(value, dict)}
    return ", ".join(f"{name}={shown(value)}" for name, value in plain.items()) or "no arguments"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def build_denoiser(config: dict[str, Any]) -> Denoiser:
    """The network on its path, initialised from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config["seed"], "weights"))
        return Denoiser(build(config["model"]), build(config["schedule"]), build(config["prediction"]))


def build_module(config: dict[str, Any]) -> DiffusionModule:
    """The LightningModule of a configuration, which it keeps for its checkpoints."""
    optimizer = build(config["optimizer"])
    try:
        optimizer([nn.Parameter(torch.zeros(1))])
    except OF_VALUES as error:
        raise UserError(f"optimizer with {_given(config['optimizer'])}: {_first_line(error)}") from error
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

"""Start a new run from the weights of another, as far as they fit: a network may have another head."""

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from inkwash.autoencoders import sameness
from inkwash.autoencoders.base import Autoencoder
from inkwash.errors import UserError
from inkwash.runs import resume_check
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)

LEAST = 0.5  # fraction of the network's numbers that must fit: fewer are another network, of which chance fits a part
PREFIX = "ema_denoiser."


def take_weights(
    path: Path, stored: dict[str, Any], module: DiffusionModule, autoencoder: Autoencoder | None = None
) -> None:
    """Load the averaged weights of a checkpoint into a module's network and all its averages; nothing else.

    A tensor of another shape here, a class embedding of more classes for example, stays as it was initialised; so does
    one that the checkpoint has not. Each is logged.

    Args:
        autoencoder: of a training on latents. A loss that goes on from the checkpoint's estimates also takes the
            normalisation that they were trained with, whatever that of these images is.

    Raises:
        UserError: less than half of the network's numbers are in the checkpoint, or its path, prediction or latents
            are others and the loss goes on from it.
    """
    configs = (stored.get("config", {}), module.config)
    differing = resume_check.changes(*({key: c.get(key) for key in ("schedule", "prediction")} for c in configs))
    latents = stored.get("latents")
    here = None if autoencoder is None else autoencoder.fingerprint
    differing += sameness.differences(*configs, (None if latents is None else latents["autoencoder"], here))
    if differing and module.loss.tunes:
        change = differing[0]
        raise UserError(
            f"init_from={path} was trained with {change.key}={change.old}, and this training has {change.new}: "
            f"{type(module.loss).__name__} goes on from its estimates, on the same schedule with the same prediction, "
            "and of the same latents"
        )
    state = {name[len(PREFIX) :]: value for name, value in stored["state_dict"].items() if name.startswith(PREFIX)}
    mine = module.denoiser.state_dict()
    fitting = {name: value for name, value in state.items() if name in mine and mine[name].shape == value.shape}
    found, needed = _numbers(fitting), _numbers(mine)
    if found < LEAST * needed:
        raise UserError(
            f"init_from={path} is of another network: choose its model (of {needed:,} numbers of this network, "
            f"{found:,} have a place there)"
        )
    if autoencoder is not None and latents is not None and module.loss.tunes:
        autoencoder.restore(latents)
    for denoiser in (module.denoiser, module.ema_denoiser, *module.averages.values()):
        denoiser.load_state_dict(fitting, strict=False)
    log.info("weights      of %s, averaged, after step %d", path, stored["global_step"])
    for name, value in mine.items():
        if name not in fitting:
            there = f"{list(state[name].shape)} there" if name in state else "not there"
            log.info("new          %s: %s here, %s", name, list(value.shape), there)
    for name in state.keys() - mine.keys():
        log.info("left out     %s: %s there, not here", name, list(state[name].shape))
    for change in differing:
        log.info("differs      %s: %s there, %s here", change.key, change.old, change.new)


def _numbers(state: dict[str, Tensor]) -> int:
    """Count the parameters of the network in a denoiser's state, without the tables of its schedule."""
    return sum(value.numel() for name, value in state.items() if name.startswith("net."))

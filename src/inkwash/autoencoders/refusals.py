"""Refuse what makes sense for pixels and not for latents, by name and without torch; choose what depends on it."""

from collections.abc import Mapping
from typing import Any

from inkwash.config.class_attributes import class_attribute
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory

BOUND = "inkwash.losses.vlb.VLBLoss"


def sees_pixels(config: Mapping[str, Any]) -> bool:
    """Tell whether what the network of a configuration sees lies in [-1, 1]: pixels, or latents that are the pixels."""
    node = config.get("autoencoder")
    return node is None or bool(class_attribute(str(node["_target_"]), "bounded"))


def resolve_pixel_clip(*, _root_: Any) -> float | None:
    """Resolve ${pixel_clip:}, the default of sampler.clip: 1.0 if the network sees pixels, null if it sees latents.

    A training says so by its `autoencoder`, other commands by their run; images and pipelines are pixels.
    """
    config: Mapping[str, Any] = _root_
    if "autoencoder" not in config and config.get("run") is not None:
        try:
            config = RunDirectory.find(config["run"]).config
        except UserError:  # the command reads it again, and says so
            return 1.0
    return 1.0 if sees_pixels(config) else None


def check_training(config: Mapping[str, Any]) -> None:
    """Raise UserError if a training on latents clips to the range of pixels, augments, or trains on bits of pixels."""
    if sees_pixels(config):
        return
    samplers = [config["sampler"], *(node.get("sampler") for node in config["callbacks"].values())]
    for sampler in filter(None, samplers):
        check_clip(sampler.get("clip"), config)
    if config.get("augment") is not None:
        raise UserError("augment changes pixels, and the network sees latents: pass augment=null with autoencoder=")
    if config["loss"]["_target_"] == BOUND:
        raise UserError("loss=vlb is the bound on the bits of pixels, and the network sees latents: use another loss")


def check_clip(clip: Any, config: Mapping[str, Any]) -> None:
    """Raise UserError for a sampler's clip, a value or an object, if the network of a configuration sees latents."""
    if clip is not None and not sees_pixels(config):
        raise UserError(
            "sampler.clip bounds estimates of x_0 to the range of pixels, and latents lie anywhere: pass "
            "sampler.clip=null, the default of a run on latents; in Python clip=None"
        )


def check_likelihood(config: Mapping[str, Any]) -> None:
    """Raise UserError for bits per dimension of a network that sees latents."""
    if not sees_pixels(config):
        raise UserError("likelihood= measures bits of pixels, and this run draws latents: leave it out")

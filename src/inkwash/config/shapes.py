"""Shape of what a network sees: of the images, or of their latents."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf


def network_shape(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of what the network of a resolved configuration sees."""
    shape = _shape(config)
    return (shape[0], shape[1], shape[2])


def _resolved(axis: int | None = None, *, _root_: Any) -> Any:
    """Resolve ${network_shape:} to that shape, ${network_shape:2} to its width."""
    shape = _shape(_root_)
    return shape if axis is None else shape[axis]


def _shape(config: Any) -> Any:
    node = config.get("autoencoder")
    return config["data"]["shape"] if node is None else node["latent_shape"]


def register() -> None:
    """Register ${network_shape:}, which YAML files of networks and schedules refer to."""
    OmegaConf.register_new_resolver("network_shape", _resolved, replace=True)

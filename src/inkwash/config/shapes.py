"""Shape of what a network sees: of the images, or of their latents."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf


def network_shape(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of what the network of a resolved configuration sees."""
    node = config.get("autoencoder")
    shape = config["data"]["shape"] if node is None else node["latent_shape"]
    return (shape[0], shape[1], shape[2])


def _resolved(axis: int | None = None, *, _root_: Any) -> Any:
    """Resolve ${network_shape:} to that shape, ${network_shape:2} to its width."""
    node = _root_.get("autoencoder")
    shape = _root_["data"]["shape"] if node is None else node["latent_shape"]
    return shape if axis is None else shape[axis]


def register() -> None:
    """Register ${network_shape:}, which YAML files of networks and schedules refer to."""
    OmegaConf.register_new_resolver("network_shape", _resolved, replace=True)

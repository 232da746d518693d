"""Small autoencoders of diffusers with random weights, as folders, and one that is exactly known."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkwash.autoencoders.base import Autoencoder

KL: dict[str, Any] = {
    "block_out_channels": (16, 32), "layers_per_block": 1, "latent_channels": 2, "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip
TINY: dict[str, Any] = {
    "encoder_block_out_channels": (16, 16), "decoder_block_out_channels": (16, 16), "latent_channels": 2,
    "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1),
}  # fmt: skip


def save_kl(folder: Path, channels: int = 1, seed: int = 0) -> Any:
    """Save an AutoencoderKL that makes images 2 times smaller, with 2 channels; return it."""
    from diffusers import AutoencoderKL

    return _saved(AutoencoderKL, folder, seed, in_channels=channels, out_channels=channels, **KL)


def save_config(folder: Path) -> None:
    """Write the config.json of an AutoencoderKL without its weights: enough to compose a configuration."""
    folder.mkdir(parents=True)
    config = {"_class_name": "AutoencoderKL", "block_out_channels": [16, 32], "latent_channels": 2}
    (folder / "config.json").write_text(json.dumps(config))


def save_tiny(folder: Path, channels: int = 1, seed: int = 0) -> Any:
    """Save an AutoencoderTiny of the same shapes; return it."""
    from diffusers import AutoencoderTiny

    return _saved(AutoencoderTiny, folder, seed, in_channels=channels, out_channels=channels, **TINY)


def _saved(kind: Any, folder: Path, seed: int, **config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(**config).eval()
    model.save_pretrained(folder)
    return model


class Blocks(Autoencoder):
    """Latents (C p p, H / p, W / p) that hold the pixels of a block each, times 3 plus 1, drawn with deviation 0.1."""

    draws = True

    def __init__(self, latent_shape: list[int], patch: int = 2, std: float = 1.0, batch_size: int = 32):
        super().__init__(latent_shape, std, batch_size)
        self.patch = patch

    def moments(self, x: Tensor) -> Tensor:
        mean = 3 * torch.nn.functional.pixel_unshuffle(x, self.patch) + 1
        return torch.cat([mean, torch.full_like(mean, 2 * torch.tensor(0.1).log().item())], dim=1)

    def images(self, z: Tensor) -> Tensor:
        return torch.nn.functional.pixel_shuffle((z - 1) / 3, self.patch)


def blocks(shape: list[int], patch: int = 2, **more: Any) -> Blocks:
    """Return Blocks for images (C, H, W)."""
    C, H, W = shape
    return Blocks([C * patch * patch, H // patch, W // patch], patch, **more)

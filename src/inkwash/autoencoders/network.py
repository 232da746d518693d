"""A variational autoencoder to train, by `make train experiment=autoencoder`, and saved as diffusers saves it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from inkwash.errors import UserError


class KLNetwork(nn.Module):
    """Variational autoencoder (Kingma & Welling 2014) of Rombach et al. 2022, diffusers' AutoencoderKL.

    As a network of a training (nets/network.py) it maps images to their reconstructions by the means of their latents;
    losses/autoencoder.py trains it. It draws nothing by itself.

    Args:
        shape: (C, H, W) of the images.
        channels: of each level; every level after the first has half the height and width.
        latent_channels: c of the latents (c, H / 2^k, W / 2^k), k + 1 levels.
        num_res_blocks: of each level.
        groups: of group normalisation, which must divide all channels.
        attention: between the innermost blocks.

    Raises:
        UserError: diffusers is missing, or sizes do not fit together.
    """

    num_classes: int | None = None
    reconstructs = True

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (16, 32),
        latent_channels: int = 2,
        num_res_blocks: int = 1,
        groups: int = 8,
        attention: bool = True,
    ):
        super().__init__()
        try:
            from diffusers import AutoencoderKL  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                "experiment=autoencoder needs the package diffusers: pip install 'inkwash[latents]'"
            ) from error
        factor = 2 ** (len(channels) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise UserError(
                f"data.shape={list(shape)}: model.channels has {len(channels)} levels, so height and width must be "
                f"multiples of {factor}"
            )
        if bad := [width for width in channels if width % groups]:
            raise UserError(f"model.groups={groups} must divide all of model.channels, and does not divide {bad[0]}")
        self.latent_shape = (latent_channels, shape[1] // factor, shape[2] // factor)
        kind: Any = AutoencoderKL
        self.model: Any = kind(
            in_channels=shape[0],
            out_channels=shape[0],
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=tuple(channels),
            layers_per_block=num_res_blocks,
            latent_channels=latent_channels,
            norm_num_groups=groups,
            sample_size=shape[1],
            mid_block_add_attention=attention,
        )

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the reconstructions of images (n, C, H, W); time and label have no effect."""
        return self.reconstruct(x)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latents of images (n, C, H, W), each (n, c, h, w)."""
        distribution = self.model.encode(x).latent_dist
        return distribution.mean, distribution.logvar

    def decode(self, z: Tensor) -> Tensor:
        """Return images (n, C, H, W) of latents (n, c, h, w)."""
        return self.model.decode(z).sample

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return images (n, C, H, W) of the mean latents of images."""
        return self.decode(self.moments(x)[0])

    def save(self, folder: Path) -> None:
        """Write config.json and weights, which autoencoder=kl and diffusers read."""
        self.model.save_pretrained(folder)

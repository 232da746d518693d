"""The networks that are compared: ours, diffusers' of the same arguments, and denoising-diffusion-pytorch's own."""

from typing import Any

import torch
from torch import Tensor, nn


def our_unet(config: dict[str, Any]) -> Any:
    """Return Inkwash's network of a configuration."""
    from inkwash.config.instantiate import build

    torch.manual_seed(0)
    return build(config["model"])


def diffusers_unet(config: dict[str, Any], classes: bool = False) -> Any:
    """Return the UNet2DModel that computes the same function, without classes as in diffusers' example."""
    from diffusers import UNet2DModel

    from inkwash.interop.unet_config import unet2d_config

    torch.manual_seed(0)
    arguments = {key: value for key, value in config["model"].items() if key != "_target_"}
    return UNet2DModel(**unet2d_config(**arguments | ({} if classes else {"num_classes": None})))


def lucidrains_unet(config: dict[str, Any]) -> Any:
    """Return the Unet of denoising-diffusion-pytorch that is as wide and as deep, all else as its authors have it."""
    from denoising_diffusion_pytorch import Unet

    torch.manual_seed(0)
    model, channels = config["model"], config["data"]["shape"][0]
    return Unet(dim=model["channels"], dim_mults=tuple(model["channel_mult"]), channels=channels)


class OursForLucidrains(nn.Module):
    """Inkwash's network where GaussianDiffusion asks for one of its own."""

    def __init__(self, net: nn.Module, channels: int):
        super().__init__()
        self.net, self.channels, self.out_dim, self.self_condition = net, channels, channels, False

    def forward(self, x: Tensor, time: Tensor, x_self_cond: None = None) -> Tensor:
        return self.net(x, time)


def lucidrains_diffusion(config: dict[str, Any], same_network: bool, **options: Any) -> Any:
    """Return denoising-diffusion-pytorch's GaussianDiffusion around its own network or ours."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    channels, size, _ = config["data"]["shape"]
    net = OursForLucidrains(our_unet(config), channels) if same_network else lucidrains_unet(config)
    return GaussianDiffusion(net, image_size=size, **options)

"""Configurations, networks and files of the tests of interop."""

import json

import torch

from inkwash.interop.unet_config import unet2d_config

UNCONDITIONAL = ("data.shape=[3,8,8]", "model.num_classes=null", "sampler=ancestral")


LEARNED = (
    "model.learn_variance=true",
    "loss=hybrid",
    "sampler.variance._target_=inkwash.process.variances.LearnedRange",
)


# Of the network that diffusers' examples/unconditional_image_generation/train_unconditional.py trains: everything but
# its width, which is 128, 128, 256, 256, 512, 512 there.
EXAMPLE = {
    "sample_size": 64, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "block_out_channels": (32, 32, 64, 64, 128, 128),
    "down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4),
}  # fmt: skip


UNET_FILE = "unet/config.json"


SCHEDULER = "scheduler/scheduler_config.json"


UNET = unet2d_config(shape=[3, 8, 8], channels=32, channel_mult=[1, 2], num_res_blocks=1, attention_resolutions=[])


def edit(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def images(n=2, channels=3, seed=1):
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def one_step(sampler, denoiser, x, t, z):
    """Our step from time t to t - 1 with noise z, by the sampler's own loop."""
    sampler.spacing = lambda schedule: torch.tensor([t, t - 1], dtype=torch.float64)
    noises = iter([x, z])
    return sampler(denoiser, lambda: next(noises))


CIFAR10 = {
    "shape": [3, 32, 32], "channels": 128, "channel_mult": [1, 2, 2, 2], "num_res_blocks": 2,
    "attention_resolutions": [16], "dropout": 0.1, "pad_all_sides": False,
}  # fmt: skip
SMALL = {
    "shape": [1, 8, 8], "channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [],
}  # fmt: skip

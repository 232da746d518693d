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

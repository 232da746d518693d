"""The configuration of the U-Net as UNet2DModel's, both ways, and refusals."""

import inspect

import pytest
from diffusers import UNet2DModel

from inkwash.errors import UserError
from inkwash.interop.unet_config import DEFAULTS, FIXED, unet2d_config, unet_arguments
from support.interop import CIFAR10, SMALL


def test_cifar10_is_the_published_configuration():
    """google/ddpm-cifar10-32, converted from Ho et al.'s own weights."""
    published = {
        "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-6,
        "norm_num_groups": 32, "sample_size": 32, "time_embedding_type": "positional",
    }  # fmt: skip
    assert published.items() <= unet2d_config(**CIFAR10).items()
    assert unet_arguments({"_class_name": "UNet2DModel", **published}) == unet_arguments(
        unet2d_config(**CIFAR10 | {"dropout": 0.0})
    )


def test_our_cifar10_network_is_that_one(compose_config):
    node = compose_config("model=unet_cifar10", "data=cifar10", "data.path=x")["model"]
    assert unet2d_config(**{k: v for k, v in node.items() if k != "_target_"}) == unet2d_config(**CIFAR10)


def test_we_know_what_a_missing_field_means():
    theirs = {name: p.default for name, p in inspect.signature(UNet2DModel).parameters.items()}
    ours = {name: tuple(value) if isinstance(value, list) else value for name, value in (FIXED | DEFAULTS).items()}
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 2}, "model.patch_size=2"),
        ({"channel_mult": [2, 2]}, r"model.channel_mult=\[2, 2\] must begin with 1"),
        ({"num_heads": 4, "attention_resolutions": [8]}, r"model.num_heads=4 on attention maps \[32, 64\]"),
    ],
)
def test_what_they_cannot_express_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        unet2d_config(**SMALL | change)


@pytest.mark.parametrize(
    "change",
    [
        {"freq_shift": 0}, {"flip_sin_to_cos": True}, {"norm_eps": 1e-5}, {"act_fn": "gelu"}, {"norm_num_groups": 16},
        {"attn_norm_num_groups": 8}, {"add_attention": False}, {"resnet_time_scale_shift": "scale_shift"},
        {"downsample_type": "resnet"}, {"upsample_type": "resnet"}, {"mid_block_type": None}, {"out_channels": 3},
        {"time_embedding_type": "fourier"}, {"center_input_sample": True}, {"class_embed_type": "timestep"},
        {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, {"up_block_types": ["AttnUpBlock2D", "UpBlock2D"]},
        {"down_block_types": ["DownBlock2D"] * 3}, {"downsample_padding": 2}, {"block_out_channels": [32, 48]},
        {"sample_size": None}, {"attention_head_dim": 48}, {"mid_block_scale_factor": 2}, {"novelty": 1},
        {"time_embedding_dim": 64},
    ],
    ids=str,
)  # fmt: skip
def test_what_we_cannot_represent_is_refused_by_name(change):
    with pytest.raises(UserError, match=f"^{next(iter(change))}"):
        unet_arguments(unet2d_config(**SMALL) | change)


def test_heads_by_their_width():
    assert unet_arguments(unet2d_config(**SMALL) | {"attention_head_dim": 8})["num_heads"] == 8
    with pytest.raises(UserError, match="attention_head_dim=8 cannot be represented"):
        unet_arguments(unet2d_config(**SMALL | {"attention_resolutions": [8]}) | {"attention_head_dim": 8})

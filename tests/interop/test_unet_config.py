"""The configuration of the U-Net as UNet2DModel's, both ways, and refusals."""

import inspect

import pytest
from diffusers import UNet2DModel

from inkwash.errors import UserError
from inkwash.interop.unet_config import DEFAULTS, FIXED, unet2d_config, unet_arguments
from support.interop import CIFAR10, EXAMPLE, SMALL


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
    """Of every argument of UNet2DModel, in the version that is installed."""
    theirs = {name: p.default for name, p in inspect.signature(UNet2DModel).parameters.items()}
    ours = {name: tuple(value) if isinstance(value, list) else value for name, value in (FIXED | DEFAULTS).items()}
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 2}, "model.patch_size=2"),
        ({"two_times": True}, "model.two_times=True has no counterpart in UNet2DModel"),
        ({"time_scale": 0.001}, "model.time_scale=0.001 has no counterpart in UNet2DModel, only 1.0"),
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
        {"act_fn": "gelu"}, {"resnet_time_scale_shift": "spatial"}, {"resnet_time_scale_shift": "ada_group"},
        {"downsample_type": "resnet"}, {"upsample_type": "resnet"}, {"mid_block_type": None}, {"out_channels": 3},
        {"time_embedding_type": "fourier"}, {"center_input_sample": True}, {"class_embed_type": "timestep"},
        {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, {"up_block_types": ["AttnUpBlock2D", "UpBlock2D"]},
        {"down_block_types": ["DownBlock2D"] * 3}, {"downsample_padding": 2}, {"block_out_channels": [32, 36]},
        {"sample_size": None}, {"attention_head_dim": 48}, {"mid_block_scale_factor": 2}, {"novelty": 1},
        {"time_embedding_dim": 64}, {"class_embed_type": "identity"}, {"block_out_channels": [64, 32]},
    ],
    ids=str,
)  # fmt: skip
def test_what_we_cannot_represent_is_refused_by_name(change):
    with pytest.raises(UserError, match=f"^{next(iter(change))}"):
        unet_arguments(unet2d_config(**SMALL) | change)


def test_heads_by_their_width():
    assert unet_arguments(unet2d_config(**SMALL) | {"attention_head_dim": 8})["num_heads"] == 8
    several = unet_arguments(unet2d_config(**SMALL | {"attention_resolutions": [8]}) | {"attention_head_dim": 8})
    assert (several["num_heads"], several["head_dim"]) == (1, 8)
    with pytest.raises(UserError, match="attention_head_dim=24 cannot be represented: it does not divide"):
        unet_arguments(unet2d_config(**SMALL) | {"attention_head_dim": 24})


@pytest.mark.parametrize(
    "change",
    [{"act_fn": "swish"}, {"attn_norm_num_groups": 8}, {"time_embedding_dim": 128}, {"num_train_timesteps": 5}],
)
def test_other_words_for_the_same_network(change):
    assert unet_arguments(unet2d_config(**SMALL) | change) == unet_arguments(unet2d_config(**SMALL))


def test_the_arguments_of_our_own_networks_stay_few():
    """So that the configuration of an imported run is that of a recipe, which may go on from it."""
    assert "freq_shift" not in unet_arguments(unet2d_config(**SMALL))
    theirs = dict(UNet2DModel(**EXAMPLE).config)
    assert {"freq_shift": 0, "cos_first": True, "norm_eps": 1e-5, "groups": 32}.items() <= unet_arguments(
        theirs
    ).items()

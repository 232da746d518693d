"""Map the arguments of our U-Net to the configuration of diffusers' UNet2DModel, and back.

UNet2DModel cannot express patch_size > 1, a first level wider than the input convolution, or several heads on attention
maps of different widths; every other UNet has a UNet2DModel that computes the same function.
"""

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from inkwash.errors import UserError
from inkwash.nets.blocks import norm_groups
from inkwash.nets.unet import UNet

# Fields with which UNet2DModel is the network of Ho et al. 2020; our U-Net has no argument for them.
FIXED: dict[str, Any] = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "norm_eps": 1e-6,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_train_timesteps": None,
}
# Defaults of UNet2DModel for fields that its file leaves out, if they differ from the values above.
DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "downsample_padding": 1,
    "dropout": 0.0,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "num_class_embeds": None,
}


def unet2d_config(**arguments: Any) -> dict[str, Any]:
    """Return UNet2DModel's configuration for UNet(**arguments). With classes, its last one means "no label".

    Raises:
        UserError: UNet2DModel cannot express it (see the top of this file).
    """
    call = inspect.signature(UNet).bind(**arguments)
    call.apply_defaults()
    own = SimpleNamespace(**call.arguments)
    channels, height, width = own.shape
    attention = [height >> level in own.attention_resolutions for level in range(len(own.channel_mult))]
    return FIXED | {
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": channels * (1 + own.learn_variance),
        "down_block_types": ["AttnDownBlock2D" if here else "DownBlock2D" for here in attention],
        "up_block_types": ["AttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)],
        "block_out_channels": [own.channels * mult for mult in own.channel_mult],
        "layers_per_block": own.num_res_blocks,
        "downsample_padding": int(own.pad_all_sides),
        "dropout": own.dropout,
        "attention_head_dim": _head_dim(own, attention),
        "norm_num_groups": _groups(own),
        "num_class_embeds": None if own.num_classes is None else own.num_classes + 1,
    }


def _head_dim(own: SimpleNamespace, attention: list[bool]) -> int | None:
    """Return the channels of an attention head, None for a single head."""
    if own.num_heads == 1:
        return None
    widths = {own.channels * mult for mult, here in zip(own.channel_mult, [*attention[:-1], True], strict=True) if here}
    if len(widths) > 1:
        raise UserError(
            f"model.num_heads={own.num_heads} on attention maps {sorted(widths)} channels wide has no counterpart in "
            "UNet2DModel, whose heads are all of one width: export a model with model.num_heads=1"
        )
    return widths.pop() // own.num_heads


def _groups(own: SimpleNamespace) -> int:
    """Return the number of groups of every group norm."""
    if own.patch_size > 1:
        raise UserError(f"model.patch_size={own.patch_size} has no counterpart in UNet2DModel: use format=safetensors")
    if own.channel_mult[0] != 1:
        raise UserError(
            f"model.channel_mult={own.channel_mult} must begin with 1 for UNet2DModel, whose first level is as wide as "
            "its input convolution: use format=safetensors"
        )
    return norm_groups(own.channels)


def unet_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the UNet that equals UNet2DModel(**config); its last class becomes "no label".

    Raises:
        UserError: there is no such UNet; the sentence names the field.
    """
    known = FIXED | DEFAULTS
    if unknown := [key for key in config.keys() - known.keys() if not key.startswith("_") and config[key] is not None]:
        raise UserError(f"{min(unknown)} is unknown to Inkwash: take it out if the network is the same without")
    theirs = known | {key: config[key] for key in known.keys() & config.keys()}
    own = _arguments(SimpleNamespace(**theirs))
    if (groups := norm_groups(own["channels"])) != theirs["norm_num_groups"]:
        raise UserError(
            f"norm_num_groups={theirs['norm_num_groups']} cannot be represented: with these block_out_channels the "
            f"group norms of Inkwash have {groups} groups"
        )
    for key, value in unet2d_config(**own).items():
        if key != "attention_head_dim" and theirs[key] != value:
            raise UserError(f"{key}={theirs[key]} cannot be represented: the U-Net of Inkwash has {key}={value} here")
    return own


def _arguments(theirs: SimpleNamespace) -> dict[str, Any]:
    """Translate each field, without a check whether the result is the same network."""
    size, widths = theirs.sample_size, list(theirs.block_out_channels)
    if size is None:
        raise UserError("sample_size is missing: write the images' side into it, or [height, width]")
    if any(width % widths[0] for width in widths):
        raise UserError(f"block_out_channels={widths} cannot be represented: they must be multiples of the first")
    height, width = (size, size) if isinstance(size, int) else size
    attention = [kind == "AttnDownBlock2D" for kind in theirs.down_block_types]
    return {
        "shape": [theirs.in_channels, height, width],
        "channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": theirs.layers_per_block,
        "attention_resolutions": [height >> level for level, here in enumerate(attention) if here],
        "num_heads": _heads(theirs, widths, attention),
        "dropout": theirs.dropout,
        "num_classes": None if theirs.num_class_embeds is None else theirs.num_class_embeds - 1,
        "patch_size": 1,
        "learn_variance": theirs.out_channels == 2 * theirs.in_channels,
        "pad_all_sides": bool(theirs.downsample_padding),
        "checkpointing": False,
    }


def _heads(theirs: SimpleNamespace, widths: list[int], attention: list[bool]) -> int:
    """Return the number of attention heads, which must be the same on every map."""
    if theirs.attention_head_dim is None:
        return 1
    maps = [width for width, here in zip(widths, [*attention[:-1], True], strict=False) if here]
    heads = {max(width // theirs.attention_head_dim, 1) for width in maps}
    if len(heads) > 1 or any(width % theirs.attention_head_dim for width in maps):
        raise UserError(
            f"attention_head_dim={theirs.attention_head_dim} cannot be represented: on maps {maps} channels wide it "
            "makes different numbers of heads, and the U-Net of Inkwash has one number for all"
        )
    return heads.pop()

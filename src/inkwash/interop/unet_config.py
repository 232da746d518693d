"""Map the arguments of our U-Net to the configuration of diffusers' UNet2DModel, and back.

UNet2DModel cannot express patch_size > 1, another scale of the time, a second time, a first level wider than the input
convolution, or several heads of different widths; every other UNet has a UNet2DModel that computes the same function.
Its network is given the index of the step as it is: a run that stretches the index to 0..1000 has a table of its time
embeddings instead (`times`).
"""

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from inkwash.errors import UserError
from inkwash.nets.blocks import norm_groups
from inkwash.nets.unet import UNet

# Fields for which our U-Net has no argument.
FIXED: dict[str, Any] = {
    "center_input_sample": False,
    "time_embedding_dim": None,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "class_embed_type": None,
}
# Defaults of UNet2DModel for fields that its file leaves out.
DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "time_embedding_type": "positional",
    "num_train_timesteps": None,
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
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "num_class_embeds": None,
}
# Arguments that theirs has not, and the values that leave them out.
PLAIN: dict[str, Any] = {"time_scale": 1.0, "two_times": False}
TIME_SCALE_SHIFT = {"default": False, "scale_shift": True}


def unet2d_config(times: int | None = None, **arguments: Any) -> dict[str, Any]:
    """Return UNet2DModel's configuration for UNet(**arguments). With classes, its last one means "no label".

    Args:
        times: T of a table of time embeddings; None for a network that computes them from the index.

    Raises:
        UserError: UNet2DModel cannot express it (see the top of this file).
    """
    call = inspect.signature(UNet).bind(**arguments)
    call.apply_defaults()
    own = SimpleNamespace(**call.arguments)
    for name, value in PLAIN.items():
        if getattr(own, name) != value:
            raise UserError(
                f"model.{name}={getattr(own, name)} has no counterpart in UNet2DModel, only {value} has: use "
                "format=safetensors"
            )
    channels, height, width = own.shape
    attention = [height >> level in own.attention_resolutions for level in range(len(own.channel_mult))]
    groups = _groups(own)
    return FIXED | {
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": channels * (1 + own.learn_variance),
        "time_embedding_type": "positional" if times is None else "learned",
        "num_train_timesteps": times,
        "freq_shift": own.freq_shift,
        "flip_sin_to_cos": own.cos_first,
        "down_block_types": ["AttnDownBlock2D" if here else "DownBlock2D" for here in attention],
        "up_block_types": ["AttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)],
        "block_out_channels": [round(own.channels * mult) for mult in own.channel_mult],
        "layers_per_block": own.num_res_blocks,
        "downsample_padding": int(own.pad_all_sides),
        "dropout": own.dropout,
        "attention_head_dim": _head_dim(own, attention),
        "norm_num_groups": groups,
        "attn_norm_num_groups": _middle_groups(own, groups),
        "norm_eps": own.norm_eps,
        "resnet_time_scale_shift": "scale_shift" if own.scale_shift else "default",
        "add_attention": own.middle_attention,
        "num_class_embeds": None if own.num_classes is None else own.num_classes + own.no_label,
    }


def _head_dim(own: SimpleNamespace, attention: list[bool]) -> int | None:
    """Return the channels of an attention head, None for a single head."""
    if own.head_dim is not None or own.num_heads == 1:
        return own.head_dim
    maps = [*attention[:-1], attention[-1] or own.middle_attention]
    widths = {round(own.channels * mult) for mult, here in zip(own.channel_mult, maps, strict=True) if here}
    if len(widths) > 1:
        raise UserError(
            f"model.num_heads={own.num_heads} on attention maps {sorted(widths)} channels wide has no counterpart in "
            "UNet2DModel, whose heads are all of one width: export a model with model.num_heads=1"
        )
    return widths.pop() // own.num_heads if widths else None


def _middle_groups(own: SimpleNamespace, groups: int) -> int | None:
    """Return the groups of the norm before the middle's attention, which theirs has not if they scale and shift."""
    if own.middle_groups == 0 and not own.scale_shift and own.middle_attention:
        raise UserError("model.middle_groups=0 has no counterpart in UNet2DModel but with model.scale_shift=true")
    if own.middle_groups is None:
        return groups if own.scale_shift else None
    return own.middle_groups or None


def _groups(own: SimpleNamespace) -> int:
    """Return the number of groups of every group norm."""
    if own.patch_size > 1:
        raise UserError(f"model.patch_size={own.patch_size} has no counterpart in UNet2DModel: use format=safetensors")
    if own.channel_mult[0] != 1:
        raise UserError(
            f"model.channel_mult={own.channel_mult} must begin with 1 for UNet2DModel, whose first level is as wide as "
            "its input convolution: use format=safetensors"
        )
    return norm_groups(own.channels) if own.groups is None else own.groups


def unet_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the UNet that equals UNet2DModel(**config); its last class becomes "no label".

    Raises:
        UserError: there is no such UNet; the sentence names the field.
    """
    known = FIXED | DEFAULTS
    if unknown := [key for key in config.keys() - known.keys() if not key.startswith("_") and config[key] is not None]:
        raise UserError(f"{min(unknown)} is unknown to Inkwash: take it out if the network is the same without")
    theirs = known | {key: _plain(config[key]) for key in known.keys() & config.keys()}
    theirs["act_fn"] = {"swish": "silu"}.get(theirs["act_fn"], theirs["act_fn"])  # another name of it
    if theirs["time_embedding_dim"] == 4 * theirs["block_out_channels"][0]:
        theirs["time_embedding_dim"] = None
    if theirs["resnet_time_scale_shift"] == "default" and theirs["attn_norm_num_groups"] == theirs["norm_num_groups"]:
        theirs["attn_norm_num_groups"] = None
    own = _arguments(SimpleNamespace(**theirs))
    times = theirs["num_train_timesteps"] if theirs["time_embedding_type"] == "learned" else None
    for key, value in unet2d_config(times, **own).items():
        if key not in ("attention_head_dim", *_without_effect(own, times)) and theirs[key] != value:
            raise UserError(f"{key}={theirs[key]} cannot be represented: the U-Net of Inkwash has {key}={value} here")
    return own


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _without_effect(own: dict[str, Any], times: int | None) -> list[str]:
    """Return the fields on which this network of theirs does not depend."""
    fields = [] if own.get("middle_attention", True) else ["attn_norm_num_groups"]
    return [*fields, *(["num_train_timesteps"] if times is None else [])]


def _arguments(theirs: SimpleNamespace) -> dict[str, Any]:
    """Translate each field, without a check whether the result is the same network."""
    size, widths = theirs.sample_size, list(theirs.block_out_channels)
    if size is None:
        raise UserError("sample_size is missing: write the images' side into it, or [height, width]")
    if theirs.resnet_time_scale_shift not in TIME_SCALE_SHIFT:
        raise UserError(
            f"resnet_time_scale_shift={theirs.resnet_time_scale_shift} cannot be represented, only "
            f"{' or '.join(TIME_SCALE_SHIFT)}"
        )
    if min(widths) < widths[0] or any(width % theirs.norm_num_groups for width in widths):
        raise UserError(
            f"block_out_channels={widths} cannot be represented: none may be less than the first, and "
            f"norm_num_groups={theirs.norm_num_groups} must divide them"
        )
    height, width = (size, size) if isinstance(size, int) else size
    attention = [kind == "AttnDownBlock2D" for kind in theirs.down_block_types]
    return {
        "shape": [theirs.in_channels, height, width],
        "channels": widths[0],
        "channel_mult": [width // widths[0] if width % widths[0] == 0 else width / widths[0] for width in widths],
        "num_res_blocks": theirs.layers_per_block,
        "attention_resolutions": [height >> level for level, here in enumerate(attention) if here],
        **_heads(theirs, widths, attention),
        "dropout": theirs.dropout,
        "num_classes": None if theirs.num_class_embeds is None else theirs.num_class_embeds - 1,
        "patch_size": 1,
        "learn_variance": theirs.out_channels == 2 * theirs.in_channels,
        "pad_all_sides": bool(theirs.downsample_padding),
        "checkpointing": False,
        **_of_elsewhere(theirs, widths[0]),
    }


def _of_elsewhere(theirs: SimpleNamespace, channels: int) -> dict[str, Any]:
    """Return the arguments that only networks from elsewhere need, those that are not our defaults."""
    groups = theirs.norm_num_groups
    middle = theirs.attn_norm_num_groups or (0 if theirs.resnet_time_scale_shift == "scale_shift" else groups)
    arguments = {
        "freq_shift": theirs.freq_shift,
        "cos_first": theirs.flip_sin_to_cos,
        "norm_eps": theirs.norm_eps,
        "groups": None if groups == norm_groups(channels) else groups,
        "scale_shift": TIME_SCALE_SHIFT[theirs.resnet_time_scale_shift],
        "middle_attention": theirs.add_attention,
        "middle_groups": None if middle == groups or not theirs.add_attention else middle,
    }
    defaults = inspect.signature(UNet).parameters
    return {name: value for name, value in arguments.items() if value != defaults[name].default}


def _heads(theirs: SimpleNamespace, widths: list[int], attention: list[bool]) -> dict[str, int]:
    """Return the number of attention heads, or their width if maps of different widths have different numbers."""
    here = [*attention[:-1], any(attention[-1:]) or theirs.add_attention]
    maps = [width for width, attends in zip(widths, here, strict=False) if attends]
    dim = theirs.attention_head_dim
    if dim is None or not maps:
        return {"num_heads": 1}
    if any(width % dim for width in maps):
        raise UserError(f"attention_head_dim={dim} cannot be represented: it does not divide the channels {maps}")
    heads = {width // dim for width in maps}
    return {"num_heads": heads.pop()} if len(heads) == 1 else {"num_heads": 1, "head_dim": dim}

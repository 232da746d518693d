"""Map our diffusion transformer to diffusers' DiTTransformer2DModel: its configuration and the names of its weights.

Theirs is the DiT of Peebles & Xie 2023 for square images with classes, and computes the same function to rounding,
except for one thing: its sinusoids of the time are those of freq_shift=1, and no file can say otherwise. A network that
was trained with another freq_shift is equal after

    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0

Each block of theirs has a copy of the embeddings of time and class.
"""

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from inkwash.config.signatures import shown
from inkwash.errors import UserError
from inkwash.nets.dit import DiT
from inkwash.nets.transformer import EPS

# Arguments that theirs has not, and the values that leave them out.
PLAIN: dict[str, Any] = {
    "mlp_ratio": 4.0,
    "time_scale": 1.0,
    "sincos": True,
    "rotary": False,
    "rms_norm": False,
    "swiglu": False,
    "qk_norm": False,
    "bottleneck": None,
    "context_tokens": 0,
    "two_times": False,
}
TOP = {"patches": "pos_embed.proj", "modulation": "proj_out_1", "head": "proj_out_2"}
# In each block, our layer and theirs; those of the network itself come from every block's copy.
LAYERS = {
    "modulation": ("norm1.linear",),
    "attention.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attention.out": ("attn1.to_out.0",),
    "mlp.linear_1": ("ff.net.0.proj",),
    "mlp.linear_2": ("ff.net.2",),
}
COPIED = {
    "time.0": "norm1.emb.timestep_embedder.linear_1",
    "time.2": "norm1.emb.timestep_embedder.linear_2",
    "label": "norm1.emb.class_embedder.embedding_table",
}


def dit_config(**arguments: Any) -> dict[str, Any]:
    """Return DiTTransformer2DModel's configuration for DiT(**arguments). Its last class means "no label".

    Raises:
        UserError: DiTTransformer2DModel cannot express it; the sentence names the key.
    """
    call = inspect.signature(DiT).bind(**arguments)
    call.apply_defaults()
    own = SimpleNamespace(**call.arguments)
    for name, value in PLAIN.items():
        if getattr(own, name) != value:
            raise UserError(
                f"model.{name}={shown(getattr(own, name))} has no counterpart in DiTTransformer2DModel, only "
                f"{shown(value)} has: use format=safetensors"
            )
    channels, height, width = own.shape
    if height != width:
        raise UserError(
            f"data.shape: DiTTransformer2DModel takes squares, not {height} x {width}: use format=safetensors"
        )
    if own.num_classes is None:
        raise UserError("model.num_classes=null has no counterpart in DiTTransformer2DModel: use format=safetensors")
    return {
        "sample_size": height,
        "in_channels": channels,
        "out_channels": channels * (1 + own.learn_variance),
        "patch_size": own.patch_size,
        "num_layers": own.depth,
        "num_attention_heads": own.num_heads,
        "attention_head_dim": own.width // own.num_heads,
        "num_embeds_ada_norm": own.num_classes,
        "norm_eps": EPS,
    }


def to_dit(net: DiT, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return DiTTransformer2DModel's state dict for a state dict of `net`, of which only the structure is used."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer in TOP:
            found[f"{TOP[layer]}.{leaf}"] = value
        elif layer in COPIED:  # a file of safetensors holds no tensor twice
            places = (f"transformer_blocks.{k}.{COPIED[layer]}.{leaf}" for k in range(len(net.blocks)))
            found |= {place: value.clone() for place in places}
        else:
            _, k, inside = layer.split(".", 2)
            names = LAYERS[inside]
            parts = zip(names, value.chunk(len(names)), strict=True)
            found |= {f"transformer_blocks.{k}.{theirs}.{leaf}": part.contiguous() for theirs, part in parts}
    return found

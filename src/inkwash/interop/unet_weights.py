"""Map the weights of our U-Net to the names of diffusers' UNet2DModel, and back."""

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.nets.blocks import Attention, Downsample, ResBlock, Upsample, sinusoidal_embedding
from inkwash.nets.unet import UNet
from inkwash.process.schedules import Schedule

TIME_TABLE = "time_proj.weight"
TOP = {
    "time.0": "time_embedding.linear_1",
    "time.2": "time_embedding.linear_2",
    "label": "class_embedding",
    "input": "conv_in",
    "output.0": "conv_norm_out",
    "output.2": "conv_out",
}
FOLDERS: dict[type[nn.Module], str] = {
    ResBlock: "resnets",
    Attention: "attentions",
    Downsample: "downsamplers",
    Upsample: "upsamplers",
}
LAYERS: dict[str, tuple[str, ...]] = {
    "norm_1": ("norm1",),
    "conv_1": ("conv1",),
    "embedding": ("time_emb_proj",),
    "norm_2": ("norm2",),
    "conv_2": ("conv2",),
    "skip": ("conv_shortcut",),
    "norm": ("group_norm",),
    "qkv": ("to_q", "to_k", "to_v"),
    "out": ("to_out.0",),
    "conv": ("conv",),
}
# The names of attention layers in files of early versions, the published DDPM weights among them.
OLD_LAYERS = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def weight_names(net: UNet) -> dict[str, tuple[str, ...]]:
    """Map each of our weights to theirs: one, or the three whose rows ours stacks (queries, keys, values)."""
    names = {}
    for ours, block, theirs in _blocks(net):
        for name in block.state_dict():
            layer, _, leaf = name.rpartition(".")
            names[f"{ours}.{name}"] = tuple(f"{theirs}.{part}.{leaf}" for part in LAYERS[layer])
    for ours in [name for name in net.state_dict() if name not in names]:
        layer, _, leaf = ours.rpartition(".")
        names[ours] = (f"{TOP[layer]}.{leaf}",)
    return names


def _blocks(net: UNet) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield every block with its name in our network and in theirs, which numbers each kind within a level."""
    sides = [("down.{k}", "down_blocks.{level}", net.down), ("middle", "mid_block", [net.middle])]
    for ours, theirs, stages in [*sides, ("up.{k}", "up_blocks.{level}", net.up)]:
        level, seen = 0, Counter()
        for k, stage in enumerate(stages):
            for j, block in enumerate(stage):
                kind = FOLDERS[type(block)]
                yield f"{ours.format(k=k)}.{j}", block, f"{theirs.format(level=level)}.{kind}.{seen[kind]}"
                seen[kind] += 1
            if isinstance(stage[-1], Downsample | Upsample):
                level, seen = level + 1, Counter()


def time_table(net: UNet, schedule: Schedule) -> Tensor:
    """Return the time embeddings of steps 1 .. T as UNet2DModel's table, (T, channels)."""
    time = schedule.time_input(torch.arange(1, int(schedule.t_max) + 1, dtype=torch.float64))
    return sinusoidal_embedding(time, net.channels, freq_shift=net.freq_shift, cos_first=net.cos_first)


def check_time_table(table: Tensor | None, net: UNet, schedule: Schedule) -> None:
    """Raise UserError unless a table of theirs is the one that our network computes."""
    ours = time_table(net, schedule)
    if table is None or table.shape != ours.shape or not torch.allclose(table.float(), ours, rtol=0, atol=1e-5):
        raise UserError(
            f"{TIME_TABLE} cannot be represented: time_embedding_type=learned is known here only as Inkwash exports it"
        )


def to_unet2d(net: UNet, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return UNet2DModel's state dict for a state dict of `net`, of which only the structure is used."""
    parts = ((names, state[ours].chunk(len(names))) for ours, names in weight_names(net).items())
    return {name: part.contiguous() for names, chunks in parts for name, part in zip(names, chunks, strict=True)}


def from_unet2d(net: UNet, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of `net` for UNet2DModel's.

    Raises:
        UserError: a weight is missing, left over or of another shape.
    """
    theirs, own, found = dict(state), net.state_dict(), {}
    for old, new in OLD_LAYERS.items():
        theirs = {name.replace(old, new): value for name, value in theirs.items()}
    for ours, names in weight_names(net).items():
        for name, wanted in zip(names, own[ours].chunk(len(names)), strict=True):
            if name not in theirs or theirs[name].shape != wanted.shape:
                problem = "is missing" if name not in theirs else f"has the shape {list(theirs[name].shape)}"
                raise UserError(f"{name} {problem}, not {list(wanted.shape)}: config.json is of another network")
        found[ours] = torch.cat([theirs.pop(name) for name in names])
    if theirs:
        raise UserError(f"{min(theirs)} has no place in the network: config.json is of another one")
    return found

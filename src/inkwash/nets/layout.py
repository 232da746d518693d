"""Layout of a U-Net: the sizes of its maps, and the order in which its blocks come.

song.py and edm2.py share it. On the way down every level but the first begins with a block that halves its map; the
innermost maps pass two more blocks; on the way up every level but the last begins with a block that doubles its map,
and has one block more than on the way down, each of which reads a skip connection.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inkwash.errors import UserError


class Place(NamedTuple):
    """Place of a block in a U-Net.

    Attributes:
        width_in: channels that come in, those of a skip connection among them.
        width: channels that go out.
        height: of the map that goes out, in pixels.
        resample: "down" or "up" for a block that halves or doubles its map first.
        skip: whether the block reads a skip connection.
        last: whether it is the last block of its level on the way up.
    """

    width_in: int
    width: int
    height: int
    resample: str = ""
    skip: bool = False
    last: bool = False


def way_down(first: int, widths: Sequence[int], heights: Sequence[int], blocks: int) -> list[Place]:
    """Return the places on the way down, behind a convolution of `first` channels; `blocks` in each level."""
    places, now = [], first
    for level, (width, height) in enumerate(zip(widths, heights, strict=True)):
        if level > 0:
            places.append(Place(now, now, height, "down"))
        for _ in range(blocks):
            places.append(Place(now, width, height))
            now = width
    return places


def way_up(first: int, widths: Sequence[int], heights: Sequence[int], blocks: int) -> list[Place]:
    """Return the places on the way up, the two of the innermost maps before it; arguments of `way_down`."""
    skips = [first, *(place.width for place in way_down(first, widths, heights, blocks))]
    now = widths[-1]
    places = [Place(now, now, heights[-1])] * 2
    for level in reversed(range(len(widths))):
        if level < len(widths) - 1:
            places.append(Place(now, now, heights[level], "up"))
        for i in range(blocks + 1):
            places.append(Place(now + skips.pop(), widths[level], heights[level], skip=True, last=i == blocks))
            now = widths[level]
    return places


def call(block: nn.Module, checkpointing: bool, *inputs: Any) -> Tensor:
    """Call a block; with `checkpointing` what is inside it is computed again in the backward pass, not kept."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
    return block(*inputs)


# --- What a configuration can get wrong -------------------------------------------------------------------------------


def check_counts(counts: Mapping[str, Any]) -> None:
    """Raise UserError unless every number, or every entry of a list, is at least 1."""
    for name, count in counts.items():
        if min(count, default=0) < 1 if isinstance(count, list) else count < 1:
            raise UserError(f"model.{name}={count} must be at least 1")


def check_attention(attention_resolutions: Sequence[int], heights: Sequence[int], shape: Sequence[int]) -> None:
    """Raise UserError if a resolution of the list does not occur."""
    if missing := set(attention_resolutions) - set(heights):
        raise UserError(
            f"model.attention_resolutions lists {sorted(missing)}, but with data.shape={list(shape)} the maps are "
            f"{list(heights)} pixels high; choose among those or pass model.attention_resolutions=[]"
        )


def check_divides(name: str, divisor: int, widths: Sequence[int]) -> None:
    """Raise UserError unless a divisor, of heads for example, divides all of these widths."""
    if divisor < 1 or any(width % divisor for width in widths):
        raise UserError(f"model.{name}={divisor} must divide the channels {sorted(set(widths))} of maps with attention")


def map_heights(height: int, width: int, levels: int, patch_size: int = 1) -> list[int]:
    """Return the heights of the levels' feature maps.

    Raises:
        UserError: height or width cannot be halved often enough.
    """
    multiple = patch_size * 2 ** (levels - 1)
    if height % multiple or width % multiple:
        near = [f"{max(n // multiple, 1) * multiple} or {-(-n // multiple) * multiple}" for n in (height, width)]
        patches = f" after patches of {patch_size}" if patch_size > 1 else ""
        raise UserError(
            f"data.shape: this model halves images {levels - 1} times{patches}, so height and width must be multiples "
            f"of {multiple}, not {height} x {width}: use height {near[0]}, width {near[1]} or fewer entries in "
            "model.channel_mult"
        )
    return [height // (patch_size * 2**level) for level in range(levels)]

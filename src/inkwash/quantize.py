"""uint8 levels <-> the interval [-1, 1] in which networks see images; all 256 levels survive the round trip."""

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """x / 127.5 - 1: uint8 of any shape -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """round(127.5 * x + 127.5), clipped to 0..255: floats of any shape -> uint8, each level equally wide."""
    return (127.5 * images.float() + 127.5).round().clamp(0, 255).to(torch.uint8)

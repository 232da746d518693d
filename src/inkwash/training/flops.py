"""Floating-point operations of a network."""

import copy

import torch
from torch import nn

PASSES = 3  # of an image in a training step: a backward pass takes twice the operations of a forward pass


def forward_flops(net: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the operations (additions and multiplications) of a pass of one image (C, H, W), counted by torch.

    Convolutions, matrix products and attention count, all else does not. A copy without numbers is run, so it costs
    neither memory nor random numbers. None for a network that does not run without numbers.
    """
    from torch.utils.flop_counter import FlopCounterMode  # a tenth of a second, only where it is wanted

    try:
        with torch.no_grad(), torch.device("meta"):
            shadow = copy.deepcopy(net).to("meta").eval()
            y = torch.zeros(1, dtype=torch.long) if getattr(net, "num_classes", None) is not None else None
            with FlopCounterMode(display=False) as counter:
                shadow(torch.zeros(1, *shape), torch.zeros(1), y)
    except Exception:  # of a network, which reads numbers: the line has no operations then
        return None
    return counter.get_total_flops()


def in_words(flops: int) -> str:
    """Return 30.6 MFLOP for 30597120."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if flops >= 10**power:
            return f"{flops / 10**power:.3g} {prefix}FLOP"
    return f"{flops} FLOP"

"""Floating-point operations of a network."""

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

MILLISECONDS = 1e9  # weights times pixels of a network whose pass takes no longer on a CPU
PASSES = 3  # of an image in a training step: a backward pass takes twice the operations of a forward pass


def trial_device(net: nn.Module, shape: tuple[int, ...]) -> str:
    """Return where to try a network with images of shape (C, H, W): `cpu` where that takes milliseconds, else `meta`.

    On the meta device tensors have no numbers, so that no network takes long; but the first use of it imports sympy,
    which takes half a second.
    """
    weights = [*net.parameters()]
    small = sum(weight.numel() for weight in weights) * math.prod(shape[1:]) < MILLISECONDS
    return "cpu" if small and not any(weight.is_meta for weight in weights) else "meta"


class Counter(TorchDispatchMode):
    """Adds up the operations of what torch computes meanwhile, by torch's own formulas.

    torch's FlopCounterMode also takes apart operations that have no formula, for those that consist of others; without
    a gradient all have been taken apart before. It imports sympy for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry  # a tenth of a second, only where it is wanted

        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def forward_flops(net: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the operations (additions and multiplications) of a pass of one image (C, H, W), counted by torch.

    Convolutions, matrix products and attention count, all else does not. A copy is run, of a large network one without
    numbers; the global random numbers stay as they are. None for a network that does not run so.
    """
    try:
        device = torch.device(trial_device(net, shape))
        with torch.no_grad(), torch.random.fork_rng(devices=[]), device:
            shadow = copy.deepcopy(net).to(device).eval()
            y = torch.zeros(1, dtype=torch.long) if getattr(net, "num_classes", None) is not None else None
            with Counter() as counter:
                shadow(torch.zeros(1, *shape), torch.zeros(1), y)
    except Exception:  # of a network, which reads numbers, for one: the line has no operations then
        return None
    return counter.flops


def in_words(flops: int) -> str:
    """Return 30.6 MFLOP for 30597120."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if flops >= 10**power:
            return f"{flops / 10**power:.3g} {prefix}FLOP"
    return f"{flops} FLOP"

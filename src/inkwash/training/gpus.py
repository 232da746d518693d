"""Estimate the speed of a training on GPUs that are not here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from inkwash.training.flops import PASSES

# Peak of dense bfloat16 matrix products in TFLOP/s, and memory in GB, by the makers' data sheets.
GPUS = {
    "RTX 4090": (165, 24), "L40S": (362, 48), "A100": (312, 80), "H100": (989, 80), "H200": (989, 141),
    "B200": (2250, 180), "MI300X": (1307, 192),
}  # fmt: skip
COUNTS = (1, 8, 64)
# A GPU begins no more than so many kernels a second one by one, whatever they compute.
LAUNCHES = 120_000
# Bytes a second of one GPU to the others: in a machine of eight, and between machines.
INSIDE, BETWEEN = 300e9, 40e9
IN_A_MACHINE = 8


@dataclass(frozen=True)
class Work:
    """Work of a training step.

    Attributes:
        flops: operations of a forward pass of one image.
        kernels: operators of a forward pass.
        parameters: of the network.
        batch: images of a step, over all GPUs.
    """

    flops: int
    kernels: int
    parameters: int
    batch: int


def step_seconds(work: Work, peak: float, gpus: int, share: float) -> tuple[float, str]:
    """Return the time of a step and what it is the time of, the longest of three:

    - operations: 3 flops batch / (gpus share peak);
    - kernels, one after another: 3 kernels / LAUNCHES;
    - exchange of float32 gradients, which runs beside the backward pass: 2 (gpus - 1) / gpus of their bytes leave each
      GPU in a ring.

    Args:
        peak: of a GPU, operations a second.
        share: of the peak that is reached.
    """
    computing = PASSES * work.flops * work.batch / (gpus * share * peak)
    exchange = 2 * (gpus - 1) / gpus * 4 * work.parameters / (INSIDE if gpus <= IN_A_MACHINE else BETWEEN)
    return max((computing, "operations"), (PASSES * work.kernels / LAUNCHES, "kernels"), (exchange, "exchange"))


def kernels_of(call: Callable[[], Any]) -> int:
    """Return how many operators a call runs, without those that only look at a tensor in another way."""
    with Counter() as counter, torch.no_grad():
        call()
    return counter.count


class Counter(TorchDispatchMode):
    """Counts the operators that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def work_of(net: nn.Module, shape: tuple[int, ...], flops: int, batch: int) -> Work:
    """Return the work of a step of a network on the meta device."""
    labelled = getattr(net, "num_classes", None) is not None
    with torch.device("meta"):
        y = torch.zeros(1, dtype=torch.long) if labelled else None
        x, time = torch.zeros(1, *shape), torch.zeros(1)
    kernels = kernels_of(lambda: net(x, time, y))
    return Work(flops, kernels, sum(p.numel() for p in net.parameters()), batch)

"""Modules whose tensors move between devices but are never cast."""

from collections.abc import Callable

import torch
from torch import Tensor


class KeepDtype:
    """Mixin for nn.Module and torchmetrics.Metric: follow `.to(device)`, ignore `.half()` and every other cast.

    Float64 tables and sums, and averages of weights, would lose their digits to a precision plugin, which casts all
    tensors of a module. Put it before the class that it changes: `class Schedule(KeepDtype, nn.Module)`.

    Attributes:
        cpu_for_mps: stay on the CPU where the module moves to MPS, which has no float64. Otherwise float64 becomes
            float32 there.
    """

    cpu_for_mps = False

    def _apply(self, fn: Callable[[Tensor], Tensor], *args, **kwargs):
        def move(tensor: Tensor) -> Tensor:
            device = fn(torch.empty(0, device=tensor.device)).device
            if device.type != "mps":
                return tensor.to(device)
            if self.cpu_for_mps:
                return tensor.to("cpu")
            return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)

        return super()._apply(move, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

"""Buffers of a network: state that no gradient trains, such as the running statistics of BatchNorm.

Averages of the weights take the buffers of the weights as they are after each step, without averaging, as torch's
swa_utils does: vectors of unit length (spectral norm) and counters have no average, and statistics of a layer's input
average themselves. Only persistent buffers count, those of a state_dict; others are constants or caches.

Each rank updates its buffers by its own images. After a step the ranks agree on one set, so that every rank samples
from the same network and the checkpoint is that of all: BatchNorm's running means and variances become their mean over
the ranks, which have seen equally many images, and everything else is that of rank 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var")


def buffer_names(net: Any) -> list[str]:
    """Return the names of a network's persistent buffers."""
    stored = net.state_dict().keys()
    return [name for name, _ in net.named_buffers() if name in stored]


@torch.no_grad()
def copy_buffers(source: nn.Module, target: nn.Module, names: Sequence[str]) -> None:
    """Copy named buffers; the target's keep their dtype."""
    if names:
        torch._foreach_copy_(_named(target, names), _named(source, names))


@torch.no_grad()
def agree(net: nn.Module, names: Sequence[str]) -> None:
    """Give all ranks of the process group the same buffers (see the top of this file). All call it together."""
    statistics = [name.rpartition(".")[2] in STATISTICS for name in names]
    buffers = _named(net, names)
    means = [buffer for buffer, averaged in zip(buffers, statistics, strict=True) if averaged]
    if means:
        # In float64 the mean of equal float32 values is that value.
        total = torch.cat([buffer.double().flatten() for buffer in means])
        dist.all_reduce(total)
        _set(means, total / dist.get_world_size())
    if others := [buffer for buffer, averaged in zip(buffers, statistics, strict=True) if not averaged]:
        content = torch.cat([buffer.reshape(-1).view(torch.uint8) for buffer in others])
        dist.broadcast(content, src=0)
        parts = content.split([buffer.numel() * buffer.element_size() for buffer in others])
        for buffer, part in zip(others, parts, strict=True):
            buffer.copy_(part.clone().view(buffer.dtype).view_as(buffer))  # a clone is aligned


@contextmanager
@torch.no_grad()
def restored(net: nn.Module) -> Iterator[None]:
    """Give all buffers of a network their values back at the end."""
    kept = {name: buffer.clone() for name, buffer in net.named_buffers()}
    try:
        yield
    finally:
        # By name, because a forward pass may have put another tensor in a buffer's place.
        if kept:
            torch._foreach_copy_(_named(net, [*kept]), [*kept.values()])


def _named(net: nn.Module, names: Sequence[str]) -> list[Tensor]:
    found = dict(net.named_buffers())
    return [found[name] for name in names]


def _set(buffers: list[Tensor], values: Tensor) -> None:
    for buffer, part in zip(buffers, values.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))

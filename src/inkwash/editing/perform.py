"""Perform a task: batches, noise and quantisation of its rows."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from inkwash.editing.codecs import Painter
from inkwash.editing.tasks import Task
from inkwash.images import to_float
from inkwash.samplers.base import ImageNoise, Sampler
from inkwash.samplers.generate import quantized


def perform(
    task: Task,
    denoiser: nn.Module,
    sampler: Sampler,
    x_0: Tensor,
    y: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, rows uint8 (n, columns, C, H, W)) a batch of at most batch_size drawn images at a time.

    Row i is a function of its inputs, (seed, i) and the task, whatever the batch size.

    Args:
        denoiser: on `device`.
        x_0: uint8 (N, task.inputs, C, H, W), the inputs of all rows.
        y: see Task.row.
        on_step: called after every step of every batch.

    Raises:
        UserError: an image has NaN or infinite pixels.
    """
    painter = Painter(denoiser, sampler, on_step)
    for indices in batches(task, len(x_0), batch_size):
        part = slice(indices[0], indices[-1] + 1)
        channels, height, width = x_0.shape[2:]
        noise = ImageNoise(seed, indices, (channels, height, width), device)
        labels = None if y is None else y[part].to(device)
        yield indices, quantized(task.row(painter, to_float(x_0[part].to(device)), noise, labels))


def batches(task: Task, count: int, batch_size: int) -> list[range]:
    """Cut rows 0 .. count - 1 into batches of as many as sample batch_size images, at least one."""
    size = max(1, batch_size // task.width)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]

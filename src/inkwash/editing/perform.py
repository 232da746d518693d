"""Perform a task: batches, noise and quantisation of its rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.denoiser import Estimate
from inkwash.editing.codecs import Painter
from inkwash.editing.tasks import Task
from inkwash.guidance import LevelOf, of_a_batch
from inkwash.images import to_float
from inkwash.samplers.base import ImageNoise, Sampler, Watch
from inkwash.samplers.generate import quantized


def perform(
    task: Task,
    denoiser: nn.Module,
    sampler: Sampler,
    x_0: Any,
    y: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_step: Callable[[], object] = lambda: None,
    first: int = 0,
    watch: Watch | None = None,
    autoencoder: Any = None,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, rows uint8 (n, columns, C, H, W)) a batch of at most batch_size drawn images at a time.

    Row i is a function of its inputs, (seed, i) and the task, whatever the batch size. A row of more images than that
    goes through the denoiser in parts.

    Args:
        denoiser: on `device`.
        x_0: uint8 (N, task.inputs, C, H, W), the inputs of all rows: a tensor, or what gives slices of one.
        y: see Task.row.
        on_step: called after every step of every batch.
        first: the row to begin with.
        watch: sees the way of the first batch, as in Sampler.
        autoencoder: of a denoiser of latents, on `device`: the inputs are encoded, as means, and all columns decoded.

    Raises:
        UserError: an image has NaN or infinite pixels.
    """
    whole = denoiser if task.width <= batch_size else InParts(denoiser, batch_size)
    painter = Painter(whole, sampler, on_step, watch, None if autoencoder is None else tuple(x_0.shape[3:]))
    for indices in batches(task, len(x_0), batch_size, first):
        part = slice(indices[0], indices[-1] + 1)
        x = to_float(x_0[part].to(device))
        if autoencoder is not None:
            x = _encoded(autoencoder, x)
        channels, height, width = x.shape[2:]
        noise = ImageNoise(seed, indices, (channels, height, width), device)
        rows = task.row(painter, x, noise, None if y is None else y[part].to(device))
        if autoencoder is not None:
            rows = autoencoder.decode(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        yield indices, quantized(rows)
        painter = replace(painter, watch=None)


def _encoded(autoencoder: Any, x: Tensor) -> Tensor:
    """Return the latents (n, inputs, c, h, w) of images x (n, inputs, C, H, W), of which there may be none."""
    if not x.shape[1]:
        return x.new_empty(*x.shape[:2], *autoencoder.latent_shape)
    return autoencoder.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class InParts(nn.Module):
    """A denoiser that is called for at most `size` images at a time.

    Args:
        remembers: whether each part has a denoiser of its own, which may remember earlier steps of the batch.
    """

    def __init__(self, denoiser: nn.Module, size: int, remembers: bool = False):
        super().__init__()
        self.denoiser, self.size, self.remembers = denoiser, size, remembers
        self.schedule: Any = denoiser.schedule
        self.two_times = bool(getattr(denoiser, "two_times", False))
        self.level_of: LevelOf | None = None
        self._level: Tensor | None = None
        self._each: list[nn.Module] = []

    def of_a_batch(self) -> "InParts":
        return InParts(self.denoiser, self.size, remembers=True)

    def _of_part(self, i: int) -> nn.Module:
        if not self.remembers:
            return self.denoiser
        while len(self._each) <= i:
            known: Any = None if self.level_of is None else lambda _: self._level
            self._each.append(of_a_batch(self.denoiser, known))
        return self._each[i]

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, s: Tensor | None = None) -> Estimate:
        if self.level_of is not None:
            self._level = self.level_of(t)  # a part of t is another tensor, which nothing is known of
        ys = [None] * len(x_t) if y is None else y.split(self.size)
        ends = [{}] * len(x_t) if s is None else [{"s": part} for part in s.split(self.size)]
        pieces = zip(x_t.split(self.size), t.split(self.size), ys, strict=False)
        parts = [self._of_part(i)(*piece, **ends[i]) for i, piece in enumerate(pieces)]
        v = None if parts[0].v is None else torch.cat([part.v for part in parts])
        return Estimate(torch.cat([part.x_0 for part in parts]), torch.cat([part.eps for part in parts]), v)


def batches(task: Task, count: int, batch_size: int, first: int = 0) -> list[range]:
    """Cut rows first .. count - 1 into batches of as many as sample batch_size images, at least one."""
    size = max(1, batch_size // task.width)
    return [range(start, min(start + size, count)) for start in range(first, count, size)]

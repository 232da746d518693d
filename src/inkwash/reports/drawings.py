"""Draw what a run's page shows and no other file holds, into the folder report/: both processes, classes, schedules.

Made once at the start of a training, or at each grid of samples; the pages themselves need no torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkwash.files import write_json
from inkwash.images import ImageSplit, InBlocks, to_float, to_uint8
from inkwash.metrics.neighbours import nearest_images
from inkwash.process.forward import q_sample, transition, visible
from inkwash.process.schedules import Schedule
from inkwash.random import generator
from inkwash.reports.image_grid import save_png
from inkwash.reports.image_grid import visible as in_rgb

IMAGES, FRAMES = 6, 24  # of a process
PIXELS = 3_000_000  # of a file
CHAIN = 1000  # steps of a path in continuous time
# The walk through the chain takes about a second for this many numbers; of small images more are walked than shown.
WALKED, AT_ONCE, MOST_WALKED = 40_000_000, 30_000, 64
LOOKED_AT = 2000  # training images among which some of each class are looked for
OF_A_CLASS, CLASSES = 8, 24


def save_process(path: Path, rows: Mapping[str, Tensor], frames: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Write images of several times as one PNG without gaps, and what they are as JSON beside it.

    Args:
        rows: by name uint8 (n, frames, C, H, W), the same n for all.
        frames: facts about each time.
        facts: further ones.
    """
    images = torch.stack([*rows.values()]).flatten(0, 1)  # (rows * n, frames, C, H, W)
    images = in_rgb(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    images = images.expand(-1, -1, 3, -1, -1)
    height, width = images.shape[3:]
    sheet = images.permute(2, 0, 3, 1, 4).reshape(3, len(images) * height, -1)
    count = len(images) // len(rows)
    save_png(sheet, path)
    shape = {"count": count, "height": height, "width": width}
    write_json(path.with_suffix(".json"), {"rows": list(rows), "frames": list(frames), **shape, **facts})


def frame_of(schedule: Schedule, t: float) -> dict[str, float]:
    """Return the facts about a time: t and log SNR, at most 99."""
    if t <= 0:
        return {"t": 0.0, "log_snr": 99.0}
    half = float(schedule.half_log_snr(torch.tensor([t], dtype=torch.float64)))
    return {"t": t, "log_snr": max(-99.0, min(99.0, 2 * half))}


def save_way(
    path: Path, schedule: Schedule, times: Sequence[float], x_t: Sequence[Tensor], x_0: Sequence[Tensor], step: int
) -> None:
    """Write the way of images from noise to data that a samplers.trajectory.Trajectory has recorded."""
    rows = {"x_t": torch.stack([*x_t], dim=1), "predicted x_0": torch.stack([*x_0], dim=1)}
    save_process(path, rows, [frame_of(schedule, t) for t in times], step=step)


def fitting(shape: Sequence[int], groups: int = 2) -> tuple[int, int]:
    """Return how many images and frames of a process fit into PIXELS."""
    tile = shape[-1] * shape[-2]
    images = IMAGES if groups * IMAGES * 8 * tile <= PIXELS else 2
    return images, max(2, min(FRAMES, PIXELS // (groups * images * tile)))


# --- Forward process --------------------------------------------------------------------------------------------------


def walked_images(shape: Sequence[int]) -> int:
    """Return how many images (C, H, W) are walked through the chain."""
    return max(fitting(shape)[0], min(MOST_WALKED, AT_ONCE // math.prod(shape)))


def some_images(split: ImageSplit) -> Tensor:
    """Return the images for `draw_forward`, spread over a split; the first ones of one that is read in blocks."""
    count = min(len(split), walked_images(split.shape))
    together = isinstance(split, InBlocks)
    return split.__getitems__([i if together else i * len(split) // count for i in range(count)])[0]


def draw_forward(path: Path, schedule: Schedule, images: Tensor, autoencoder: Any = None) -> None:
    """Draw q on images uint8 (n, C, H, W), or their latents, the first shown: step by step, and in closed form.

    For both, the standard deviation of (x_t - alpha x_0) / sigma over all n is stored, which is 1 in theory. If a walk
    through all steps would take long, it goes in larger ones.
    """
    x_0, decode = to_float(images), None
    if autoencoder is not None:
        device = autoencoder.mean.device
        x_0, decode = autoencoder.encode(x_0.to(device)).cpu(), lambda z: autoencoder.decode(z.to(device)).cpu()
    shown, frames = fitting(images.shape)
    times = _chain(schedule)
    times = times[:: -(-len(times) * x_0.numel() // WALKED)]
    kept = sorted({round(i) for i in torch.linspace(1, len(times) - 1, frames - 1).tolist()})
    walked, drawn = [x_0], [x_0]
    noise, other = (generator("report", name) for name in ("step by step", "closed form"))
    x, (scale, variance) = x_0, transition(schedule, times[:-1], times[1:])
    # q_step (process/forward.py) for every step: its coefficients are computed at once.
    for index, (factor, std) in enumerate(zip(scale.float(), variance.sqrt().float(), strict=True), 1):
        x = factor * x + std * torch.randn(x_0.shape, generator=noise)
        if index in kept:
            walked.append(x)
            drawn.append(q_sample(schedule, x_0, times[index : index + 1], torch.randn(x_0.shape, generator=other)))
    at = [0.0, *(float(times[i]) for i in kept)]
    rows, stds = {}, {}
    for name, xs in (("step by step", walked), ("in closed form", drawn)):
        there = list(zip(xs, at, strict=True))
        rows[name] = torch.stack([_shown(schedule, x[:shown], t, decode) for x, t in there], dim=1)
        stds[name] = [_residual(schedule, x_0, x, t) for x, t in there if t]
    save_process(path, rows, [frame_of(schedule, t) for t in at], residual_std=stds, steps=len(times) - 1)


def _chain(schedule: Schedule) -> Tensor:
    """Return the times of a walk from 0 to t_max: every step of a chain, CHAIN steps of a continuous path."""
    if schedule.discrete:
        return torch.arange(int(schedule.t_max) + 1, dtype=torch.float64)
    u = torch.linspace(0, 1, CHAIN, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), schedule.time_at(u)])


def _residual(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: float) -> float:
    alpha, sigma = schedule(torch.tensor([t], dtype=torch.float64))
    return float(((x_t - alpha.float() * x_0) / sigma.float()).std())


def _shown(schedule: Schedule, x: Tensor, t: float, decode: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Quantise x_t, or the image of it, as if data had variance 1."""
    if t > 0:
        x = visible(x, *schedule(torch.tensor([t], dtype=torch.float64)))
    return to_uint8(x if decode is None else decode(x))


# --- Images -----------------------------------------------------------------------------------------------------------


def draw_classes(path: Path, split: ImageSplit, classes: int) -> None:
    """Draw OF_A_CLASS training images of each of the first CLASSES classes, a row for each; fewer if they are large."""
    tile = split.shape[-1] * split.shape[-2]
    chosen: list[list[int]] = [[] for _ in range(min(classes, CLASSES, max(2, PIXELS // tile)))]
    each = max(1, min(OF_A_CLASS, PIXELS // (len(chosen) * tile)))
    for index, label in enumerate(split.labels[:LOOKED_AT].tolist()):
        if 0 <= label < len(chosen) and len(chosen[label]) < each:
            chosen[label].append(index)
    images = torch.full((len(chosen), each, *split.shape), 255, dtype=torch.uint8)
    for row, indices in enumerate(chosen):
        if indices:
            images[row, : len(indices)] = split.__getitems__(indices)[0]
    save_process(path, {"training images": images}, [{}] * each)


def draw_nearest(path: Path, images: Tensor, split: ImageSplit, flip: bool, step: int) -> None:
    """Draw samples uint8 (n, C, H, W) above the training images nearest to them, with their distances in levels."""
    images = images[: max(2, PIXELS // (2 * images.shape[-1] * images.shape[-2]))]
    nearest = nearest_images(images, split, flip)
    distances = (images.double() - nearest.double()).square().mean(dim=(1, 2, 3)).sqrt().tolist()
    rows = {"samples": images[None], "nearest training images": nearest[None]}
    save_process(path, rows, [{"distance": value} for value in distances], step=step)


def may_search(split: ImageSplit, most: int) -> bool:
    """Tell whether all images of a split may be read to search them: few, and not in blocks that come from afar."""
    return len(split) <= most and not isinstance(split, InBlocks)

"""Sections of a run's page that show images: samples over training, classes, both processes, neighbours."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inkwash.reports import figures
from inkwash.reports.page import Cell, Chart, Flipbook, Section, Shown, Table, number
from inkwash.reports.pictures import (
    SHOWN,
    Picture,
    Process,
    grid_picture,
    laid_out,
    picture,
    read_pixels,
    read_process,
    tiles,
)
from inkwash.reports.run_files import RunFiles

MOST_GRIDS = 32  # in the slider
GRID_BYTES = 2_500_000  # of all of them, as data URIs
IN_STRIP, ROWS = 11, 4  # times and images of a strip
MOST_CLASSES = 24  # in the table of classes
OF_A_CLASS, STRIP = 8, 400  # images of each, at most, and pixels that they may take


def sample_section(files: RunFiles) -> Section | None:
    """The grids of samples with a slider over training; None without a grid."""
    if not (grids := files.grids("step-*.png")):
        files.missing.append("there is no grid of samples yet")
        return None
    frames = grid_frames(files, grids)
    if not frames:
        files.missing.append(f"{grids[-1][1]} and the other grids cannot be read: there are no samples")
        return None
    columns = files.callback("samples").get("columns")
    heads = [files.classes[i % len(files.classes)] for i in range(columns or 0)] if _of_classes(files) else ()
    text = "Every grid begins from the same noise and is drawn with the averaged weights."
    if len(frames) < len(grids):
        text += f" {len(frames)} of {len(grids)} grids, evenly spaced; the others are in samples/."
    return Section("Samples", "samples", [Flipbook("Samples over training", frames, "step", text, heads)])


def grid_frames(files: RunFiles, grids: Sequence[tuple[int, Any]]) -> list[tuple[str, Picture]]:
    """Return the whole grids as frames: evenly spaced, so many that they stay below GRID_BYTES."""
    columns = files.callback("samples").get("columns") or 10
    count = min(MOST_GRIDS, len(grids))
    while True:
        chosen = sorted({round(i) for i in np.linspace(0, len(grids) - 1, count)} if count > 1 else {len(grids) - 1})
        frames = []
        for step, path in (grids[i] for i in chosen):
            alt = f"Grid of samples of {files.name} at step {step:,}"
            shown = grid_picture(path, path.stat().st_mtime, files.shape or (1, 1, 1), columns, alt)
            if shown is not None:
                frames.append((f"step {step:,}", shown))
        if count == 1 or sum(len(shown.uri) for _, shown in frames) <= GRID_BYTES:
            return frames
        count = max(1, count // 2)


def _of_classes(files: RunFiles) -> bool:
    """Tell whether each column of the grid is of one class."""
    columns, classes = files.callback("samples").get("columns"), len(files.classes)
    return isinstance(columns, int) and 0 < classes <= columns and columns % classes == 0


def sample_tiles(files: RunFiles) -> np.ndarray | None:
    """Return the images of the latest grid that can be read, (n, h, w, 3), without the white rest of its last row."""
    samples = files.callback("samples")
    columns = samples.get("columns")
    if files.shape is None or not isinstance(columns, int):
        return None
    for _, path in reversed(files.grids("step-*.png")):
        if (sheet := read_pixels(path)) is not None:
            cut = tiles(sheet, files.shape, columns)
            return None if cut is None else cut[: samples.get("num_images")]
    return None


def class_section(files: RunFiles) -> Section | None:
    """Each class: number of training images, real images, samples; None for a network without classes."""
    if not files.classes:
        return None
    counts = (files.data.get("train") or {}).get("counts") or []
    drawn, real = sample_tiles(files), read_process(files.run.report_folder / "real.png")
    rows, classes, shown = [], len(files.classes), MOST_CLASSES if real is None else len(real.images)
    each = min(OF_A_CLASS if real is None else real.images.shape[1], _fitting(files.shape or (1, SHOWN, SHOWN)))
    for index, name in enumerate(files.classes[:shown]):
        own = drawn[index::classes][:each] if drawn is not None else ()
        given = real.images[index][:each] if real is not None and index < len(real.images) else ()
        rows.append(
            [
                Cell(name, name),
                counts[index] if index < len(counts) else None,
                _strip_cell(given, f"Training images of class {name}"),
                _strip_cell(own, f"Samples of class {name}"),
            ]
        )
    text = f"The first {shown} of {classes} classes." if classes > shown else ""
    columns = ("class", "training images", "real", "samples")
    return Section("Class by class", "classes", [Table("Real images and samples of each class", columns, rows, text)])


def _fitting(shape: Sequence[int]) -> int:
    """Return how many images of a shape (C, H, W) fit into a strip, 3 if they are large: the browser shrinks those."""
    factor = -(-SHOWN // min(shape[1:]))
    return max(3, STRIP // ((shape[2] + 1) * factor))


def _strip_cell(images: Any, alt: str) -> Cell:
    if not len(images):
        return Cell("")
    return Cell("", None, None, picture(laid_out(np.asarray(images), len(images)), alt, min(images[0].shape[:2])))


def forward_section(files: RunFiles) -> Section | None:
    """The forward process of training images, step by step and in closed form; None if it was not drawn."""
    process = read_process(files.run.report_folder / "forward.png")
    if process is None:
        files.missing.append("the forward process was not drawn: `make report run=DIR` draws it")
        return None
    intro = (
        "q(x_t | x_0) takes training images to noise. Above, the chain is walked step by step, each step adding fresh "
        "noise; below, x_t = alpha x_0 + sigma eps is drawn in one go. Single images differ by their noise; what the "
        "noise is like must not."
    )
    return Section(
        "Forward process", "forward", [*strips(process, "From data to noise"), *_residuals(process)], intro
    )  # fmt: skip


def _residuals(process: Process) -> list[Chart]:
    """The standard deviation of (x_t - alpha x_0) / sigma, which must be 1 both ways."""
    measured: dict[str, list[float]] = process.facts.get("residual_std") or {}
    frames = [frame for frame in process.facts["frames"] if frame.get("t")]
    if not measured:
        return []
    lines = [
        figures.scatter([frame["log_snr"] for frame in frames], values, name, mode="lines+markers")
        for name, values in measured.items()
    ]
    drawn = figures.figure(lines, "log SNR", "standard deviation", yaxis={"range": [0.8, 1.2]})
    drawn.add_hline(y=1, line={"dash": "dash", "color": figures.GREY})
    told = "; ".join(f"{name}: {number(min(v))} to {number(max(v))}" for name, v in measured.items() if v)
    return [
        Chart("Noise left when the image is taken away: (x_t - alpha x_0) / sigma", drawn, f"It must be 1. {told}.")
    ]


def reverse_section(files: RunFiles) -> Section | None:
    """The reverse process of the latest grid, the predicted x_0 below; None if it was not drawn."""
    process = read_process(files.run.report_folder / "reverse.png")
    if process is None:
        files.missing.append(
            "the reverse process was not drawn yet: a grid of samples or `make report run=DIR` draws it"
        )
        return None
    facts = process.facts
    intro = (
        f"The first images of the grid at step {facts.get('step', 0):,} on their way from noise to data. Above x_t, "
        "scaled to unit variance; below the x_0 that the network predicts from it, which begins as the mean of all "
        "images and sharpens."
    )
    return Section("Reverse process", "reverse", strips(process, "From noise to data"), intro)


def strips(process: Process, title: str) -> list[Any]:
    """Return a process as a strip, whose columns are times, and as an animation."""
    frames, side = process.facts["frames"], min(process.images.shape[2:4])
    chosen = sorted({round(i) for i in np.linspace(0, len(frames) - 1, min(IN_STRIP, len(frames)))})
    names, across = list(process.facts["rows"]), process.facts["count"]
    parts = []
    for name, images in process.groups:
        sheet = laid_out(np.concatenate(images[:ROWS, chosen]), len(chosen))
        alt = f"{title}, {name}: {_label(frames[chosen[0]])} on the left, {_label(frames[chosen[-1]])} on the right"
        parts.append((name, picture(sheet, alt, side)))
    strip = Shown(f"{title}, as a strip", parts, "", [_short(frames[i]) for i in chosen])
    moving = [
        (_label(frame), picture(laid_out(process.images[:, i], across), f"{title}, {_label(frame)}", side))
        for i, frame in enumerate(frames)
    ]
    text = f"Rows: {'; '.join(names)}."
    return [strip, Flipbook(f"{title}, in motion", moving, "time", text)]


def _label(frame: dict[str, Any]) -> str:
    if not frame.get("t"):
        return "data, t = 0"
    return f"t = {number(frame['t'])}, log SNR {round(frame['log_snr'], 1) + 0.0:g}"


def _short(frame: dict[str, Any]) -> str:
    return f"t = {number(frame['t'])}" if frame.get("t") else "t = 0"


def neighbour_section(files: RunFiles) -> Section | None:
    """Samples beside the training images nearest to them; None if they were not looked for."""
    process = read_process(files.run.report_folder / "nearest.png")
    if process is None:
        return None
    facts = process.facts
    count = len(process.images[0])
    side = min(process.images.shape[2:4])
    distances = [frame["distance"] for frame in facts["frames"]]
    shown = Shown(
        "Samples, and below each its nearest training image",
        [(name, picture(laid_out(images[0], count), name, side)) for name, images in process.groups],
        f"Of step {facts.get('step', 0):,}. Root mean squared difference in levels of 0..255: "
        f"{number(min(distances))} at the least. A sample that is a copy would have a distance near 0.",
        [number(round(value, 1)) for value in distances],
    )
    return Section("Nearest training images", "neighbours", [shown])

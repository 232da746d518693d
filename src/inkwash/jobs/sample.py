"""Sample: what the process of a sampling job runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inkwash.config.instantiate import build
from inkwash.data.files import read_images
from inkwash.data.images import Images
from inkwash.editing.perform import batches, perform
from inkwash.editing.tasks import Task
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.guidance import DEFAULT_SCALE, ClassifierFree
from inkwash.random import generator
from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, save_png, visible
from inkwash.run import Run, load_run
from inkwash.runs import config_file
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.generate import labels_for
from inkwash.training.precision import autocast, resolve_precision
from inkwash.training.trainer import resolve_device, set_threads


def sample(directory: Path) -> None:
    """Generate the images of directory/sample.yaml, and write them with a grid of all."""
    config = config_file.load(directory / "sample.yaml")
    run = load_run(config["run"], config["checkpoint"], config["weights"])
    set_threads(config["trainer"]["threads"], 1)
    task, sampler, guide = (build(config[key]) for key in ("task", "sampler", "guide"))
    scale = config["guidance"]
    if guide.func is ClassifierFree:
        scale = run.scale(scale)
    elif scale is None:  # autoguidance needs no labels
        scale = DEFAULT_SCALE
    denoiser = guide(run.denoiser, scale)
    x_0, y = choose_inputs(run, task, config["num_images"], config["label"])
    device = resolve_device(config["trainer"]["accelerator"])
    precision = config["trainer"]["precision"] or run.config["trainer"]["precision"]
    steps = len(task.spacing(sampler)(run.denoiser.schedule)) - 1
    steps *= len(batches(task, len(x_0), config["batch_size"]))
    (directory / "images").mkdir(exist_ok=True)
    results = (directory / name for name in ("grid.png", "images.npy", "report.json"))
    for stale in (*(directory / "images").glob("*.png"), *results):
        stale.unlink(missing_ok=True)
    done = []
    with (
        autocast(resolve_precision(precision, device), device),
        tqdm(total=steps, desc=f"drawing {len(x_0) * task.width} images", unit="step") as bar,
    ):
        for indices, rows in perform(
            task, denoiser.to(device), sampler, x_0, y, config["seed"], config["batch_size"], device, bar.update
        ):
            done.append(rows.cpu())
            save_results(directory / "images", indices, done[-1][:, task.results])
    classes = RunDirectory(config["run"]).classes if config["label"] is None and task.inputs == 0 else []
    finish(directory, run, task, torch.cat(done), config["columns"], classes)
    if config["tracking"] is not None:
        tracker, pictures = build(config["tracking"]), [directory / "grid.png"]
        tracker(directory, "sampling", config, Path(config["run"]), [config["checkpoint"]], pictures=pictures)


def choose_inputs(run: Run, task: Task, count: int, label: int | None) -> tuple[Tensor, Tensor | None]:
    """Return the images that `count` rows start from, and their labels.

    Returns:
        uint8 (count, task.inputs, C, H, W), and (count, max(task.inputs, 1)) or None for a run without classes.

    Raises:
        UserError: the run does not know the label.
    """
    if label is not None and (run.num_classes is None or not 0 <= label < run.num_classes):
        raise UserError(f"label={label}: this run was trained with model.num_classes={run.num_classes}")
    if task.inputs == 0:
        images = torch.empty(count, 0, *run.shape, dtype=torch.uint8)
        y = labels_for(range(count), run.num_classes)
    else:
        needed = count * task.inputs
        source = read_images(task.images, run.shape, needed) if task.images else heldout_images(run, needed)
        # If there are fewer images than rows, they are repeated, each time with other noise.
        images, y = source.__getitems__([i % len(source) for i in range(needed)])
        images = images.view(count, task.inputs, *run.shape)
    if run.num_classes is None:
        return images, None
    assert y is not None
    return images, (y if label is None else torch.full_like(y, label)).view(count, -1)


def heldout_images(run: Run, count: int) -> Images:
    """Return the first `count` held-out images of the run's data, in a fixed random order, which mixes classes.

    Raises:
        UserError: the data cannot be loaded.
    """
    try:
        heldout = build(run.config["data"]).heldout
    except UserError as error:
        raise UserError(f"the run's own images cannot be loaded ({error}): pass task.images=...") from error
    order = torch.randperm(len(heldout), generator=generator("inputs"))[:count].tolist()
    return Images(*heldout.__getitems__(order))


def save_results(directory: Path, indices: Any, results: Tensor) -> None:
    """Write a file for each image of uint8 (n, k, C, H, W): 000000.png, or 000000-00.png if a row has several."""
    for i, images in zip(indices, results, strict=True):
        for k, image in enumerate(visible(images)):
            save_png(image, directory / (f"{i:06d}.png" if len(images) == 1 else f"{i:06d}-{k:02d}.png"))


def finish(directory: Path, run: Run, task: Task, rows: Tensor, columns: int | None, classes: Sequence[str]) -> None:
    """Write grid.png, images.npy and report.json.

    The grid has the names of classes if each column is of one. images.npy is written if no image file holds such
    channels, report.json if the task measures something.
    """
    save_png(sheet(rows, columns, run.num_classes, classes), directory / "grid.png")
    if run.shape[0] not in (1, 3):
        results = rows[:, task.results].flatten(0, 1)
        np.save(directory / "images.npy", results.numpy())  # an image file has 1 or 3 channels
    if facts := task.report(rows):
        write_json(directory / "report.json", facts)
        print(", ".join(f"{name} {value:.4g}" for name, value in facts.items()))


def sheet(rows: Tensor, columns: int | None, num_classes: int | None, classes: Sequence[str]) -> Tensor:
    """Return one image of rows uint8 (n, k, C, H, W), each of them k images side by side."""
    count, width = rows.shape[:2]
    if width == 1:
        columns = columns or num_classes or max(1, round(count**0.5))
        return headed(grid(rows[:, 0], columns), columns, classes if num_classes is not None else [])
    strips = torch.stack([grid(row, width, gap=1) for row in rows])
    columns = columns or max(1, round((count * strips.shape[2] / strips.shape[3]) ** 0.5))
    return grid(strips, columns, min_side=1, gap=10)

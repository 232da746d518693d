"""What the process of a sampling job does."""

import json
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
from inkwash.guidance import DEFAULT_SCALE, ClassifierFree
from inkwash.random import generator
from inkwash.reports.image_grid import grid, save_png, visible
from inkwash.run import Run, load_run
from inkwash.runs import config_file
from inkwash.samplers.generate import labels_for
from inkwash.training.precision import autocast, resolve_precision
from inkwash.training.trainer import resolve_device, set_threads


def sample(directory: Path) -> None:
    """Draw what directory/sample.yaml asks for."""
    config = config_file.load(directory / "sample.yaml")
    run = load_run(config["run"], config["checkpoint"], config["weights"])
    set_threads(config["trainer"]["threads"], 1)
    task, sampler, guide = (build(config[key]) for key in ("task", "sampler", "guide"))
    scale = config["guidance"]
    if guide.func is ClassifierFree:
        scale = run.scale(scale)
    elif scale is None:  # a worse network guides without labels, too
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
    finish(directory, run, task, torch.cat(done), config["columns"])
    if config["tracking"] is not None:
        show = build(config["tracking"])
        show(directory, "sampling", config, Path(config["run"]), [config["checkpoint"]], [], [directory / "grid.png"])


def choose_inputs(run: Run, task: Task, count: int, label: int | None) -> tuple[Tensor, Tensor | None]:
    """What `count` rows start from, uint8 (count, inputs, C, H, W), and labels (count, max(inputs, 1)) or None."""
    if label is not None and (run.num_classes is None or not 0 <= label < run.num_classes):
        raise UserError(f"label={label}: this run was trained with model.num_classes={run.num_classes}")
    if task.inputs == 0:
        images = torch.empty(count, 0, *run.shape, dtype=torch.uint8)
        y = labels_for(range(count), run.num_classes)
    else:
        needed = count * task.inputs
        found = read_images(task.images, run.shape, needed) if task.images else heldout_images(run, needed)
        # Fewer images than rows are taken over and over, each time with noise of its own.
        images, y = found.__getitems__([i % len(found) for i in range(needed)])
        images = images.view(count, task.inputs, *run.shape)
    if run.num_classes is None:
        return images, None
    assert y is not None
    return images, (y if label is None else torch.full_like(y, label)).view(count, -1)


def heldout_images(run: Run, count: int) -> Images:
    """Held-out images of the run's own data, in an order that mixes classes and does not depend on how many there are.

    Raises:
        UserError: the data are no longer where they were.
    """
    try:
        heldout = build(run.config["data"]).heldout
    except UserError as error:
        raise UserError(f"the run's own images are not to be had ({error}): pass task.images=...") from error
    order = torch.randperm(len(heldout), generator=generator("inputs"))[:count].tolist()
    return Images(*heldout.__getitems__(order))


def save_results(directory: Path, indices: Any, results: Tensor) -> None:
    """One file for each image drawn, uint8 (n, k, C, H, W): 000000.png, or 000000-00.png where a row has several."""
    for i, images in zip(indices, results, strict=True):
        for k, image in enumerate(visible(images)):
            save_png(image, directory / (f"{i:06d}.png" if len(images) == 1 else f"{i:06d}-{k:02d}.png"))


def finish(directory: Path, run: Run, task: Task, rows: Tensor, columns: int | None) -> None:
    """The grid, and what cannot be seen in it."""
    save_png(sheet(rows, columns, run.num_classes), directory / "grid.png")
    if run.shape[0] not in (1, 3):
        results = rows[:, task.results].flatten(0, 1)
        np.save(directory / "images.npy", results.numpy())  # no picture file holds these channels
    if facts := task.report(rows):
        (directory / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(", ".join(f"{name} {value:.4g}" for name, value in facts.items()))


def sheet(rows: Tensor, columns: int | None, num_classes: int | None) -> Tensor:
    """One picture of rows uint8 (n, k, C, H, W): images side by side, and rows of several beside each other."""
    count, width = rows.shape[:2]
    if width == 1:
        return grid(rows[:, 0], columns or num_classes or max(1, round(count**0.5)))
    strips = torch.stack([grid(row, width, gap=1) for row in rows])
    columns = columns or max(1, round((count * strips.shape[2] / strips.shape[3]) ** 0.5))
    return grid(strips, columns, min_side=1, gap=10)

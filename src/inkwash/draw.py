"""What the process of a sampling job does."""

import sys
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from inkwash.agent import reporting
from inkwash.build import build
from inkwash.errors import UserError
from inkwash.reports.pictures import grid, save_png, visible
from inkwash.run import Run, load_run
from inkwash.samplers.generate import generate, labels_for
from inkwash.training.precision import autocast, resolve_precision
from inkwash.training.trainer import resolve_device


def draw(directory: Path) -> None:
    """Draw what directory/sample.yaml asks for."""
    config = OmegaConf.to_container(OmegaConf.load(directory / "sample.yaml"))
    assert isinstance(config, dict)
    run = load_run(config["run"], config["checkpoint"], config["weights"])
    sampler, count, seed = build(config["sampler"]), config["num_images"], config["seed"]
    labels = choose_labels(run, count, config["label"])
    guidance = choose_guidance(run, config["guidance"])
    device = resolve_device(config["trainer"]["accelerator"])
    precision = config["trainer"]["precision"] or run.config["trainer"]["precision"]
    steps = len(sampler.spacing(run.denoiser.schedule)) - 1
    batches = -(-count // config["batch_size"])
    (directory / "images").mkdir(exist_ok=True)
    for stale in (directory / "images").glob("*.png"):
        stale.unlink()
    images = torch.empty(count, *run.shape, dtype=torch.uint8)
    with (
        autocast(resolve_precision(precision, device), device),
        tqdm(total=steps * batches, desc=f"drawing {count} images", unit="step") as bar,
    ):
        for indices, batch in generate(
            run.denoiser.to(device), sampler, run.shape, range(count), labels, guidance, seed,
            config["batch_size"], device, bar.update,
        ):  # fmt: skip
            images[list(indices)] = batch.cpu()
            for i in indices:
                save_png(visible(images[i : i + 1])[0], directory / "images" / f"{i:06d}.png")
    columns = config["columns"] or run.num_classes or max(1, round(count**0.5))
    save_png(grid(images, columns), directory / "grid.png")
    if run.shape[0] not in (1, 3):
        np.save(directory / "images.npy", images.numpy())  # no picture file holds these channels


def choose_labels(run: Run, count: int, label: int | None) -> torch.Tensor | None:
    """Every class in turn, or one class for all."""
    if label is None:
        return labels_for(range(count), run.num_classes)
    if run.num_classes is None or not 0 <= label < run.num_classes:
        raise UserError(f"label={label}: this run was trained with model.num_classes={run.num_classes}")
    return torch.full((count,), label)


def choose_guidance(run: Run, guidance: float | None) -> float:
    """What was asked for, else the scale of the run's own sample grids."""
    if guidance is not None:
        return guidance
    grids = run.config["callbacks"].get("samples", {})
    return 1.0 if run.num_classes is None else grids.get("guidance", 1.0)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    with reporting(here):
        draw(here)

"""Draw what a run's page lacks: what the process of `inkwash report` runs."""

import logging
from pathlib import Path
from typing import Any

import torch

from inkwash.config.instantiate import build
from inkwash.data.module import ImageDataModule
from inkwash.errors import UserError
from inkwash.files import read_json
from inkwash.reports import drawings
from inkwash.reports.run_files import RunFiles
from inkwash.run import Run, load_run
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.generate import generate, labels_for
from inkwash.samplers.trajectory import Trajectory
from inkwash.training.build import build_module
from inkwash.training.callbacks.report import draw_inputs
from inkwash.training.precision import autocast
from inkwash.training.threads import set_threads_to_draw
from inkwash.training.trainer import resolve_device

log = logging.getLogger("inkwash")

STEPS = 50  # of the reverse process: a page does not wait for a thousand
SEARCH = 100_000  # training images


def draw(directory: Path) -> None:
    """Draw what the page of the run that directory/report.json names lacks."""
    draw_missing(Path(read_json(directory / "report.json")["run"]))


def draw_missing(directory: Path) -> None:
    """Draw the forward process, the schedules, the reverse process and the nearest images, if they are not there.

    What a run cannot give, its images or a checkpoint, is said, and the rest drawn.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    set_threads_to_draw(None, 1)
    files, data = RunFiles(RunDirectory(directory)), None
    folder = files.run.report_folder
    folder.mkdir(exist_ok=True)
    try:
        data = build({**files.config["data"], "num_workers": 0})
        data.setup()
        if not all((folder / name).exists() for name in ("forward.png", "schedules.json")):
            autoencoder = load_run(directory).autoencoder if files.config.get("autoencoder") else None
            draw_inputs(files, build_module(files.config), data.train, autoencoder)
    except UserError as error:
        log.info("without the forward process: %s", error)
    try:
        if not (folder / "reverse.png").exists():
            draw_samples(folder, load_run(directory), data)
    except UserError as error:
        log.info("without the reverse process: %s", error)


def draw_samples(folder: Path, run: Run, data: ImageDataModule | None) -> None:
    """Draw the way of the first images of a run's grids from noise, and what is nearest to the images drawn."""
    device, samples = resolve_device("auto"), run.config["callbacks"].get("samples", {})
    sampler = build(few_steps(samples.get("sampler") or run.config["sampler"]))
    shown, frames = drawings.fitting(run.shape)
    run.prepare(sampler, device)
    denoiser = run.denoiser
    way = Trajectory(denoiser.schedule, shown, frames // 2, run.decode)
    count = max(shown, 10)
    with autocast(run.precision(None, device), device):
        options: Any = {"seed": samples.get("seed", 0), "device": device, "watch": way}
        labels = labels_for(range(count), run.num_classes)
        drawn = generate(denoiser, sampler, run.network_shape, range(count), labels, run.scale(None), **options)
        images = torch.cat([batch.cpu() for _, batch in drawn])
    way.finish(images)
    drawings.save_way(folder / "reverse.png", way.schedule, way.times, way.x_t, way.x_0, run.step)
    if data is not None and drawings.may_search(data.train, SEARCH):
        drawings.draw_nearest(folder / "nearest.png", images, data.train, data.flip, run.step)


def few_steps(sampler: dict[str, Any]) -> dict[str, Any]:
    """Return a sampler's node with STEPS steps at most."""
    spacing = sampler["spacing"]
    steps = spacing.get("steps")
    return {**sampler, "spacing": {**spacing, "steps": min(steps or STEPS, STEPS)}}

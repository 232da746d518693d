"""What each rank of a training job does: instantiate and go."""

import json
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

from inkwash import rundir
from inkwash.agent import reporting
from inkwash.build import build, build_module
from inkwash.errors import UserError, no_room
from inkwash.meeting import meeting
from inkwash.random import seed_of
from inkwash.training import memory, offline, resuming, tracking
from inkwash.training.callbacks.same_config import SameConfig
from inkwash.training.callbacks.signals import StopOnSignal, Stopped
from inkwash.training.checkpoint_files import sweep_up
from inkwash.training.compiling import compile_network
from inkwash.training.logs import logging_of
from inkwash.training.metrics_csv import MetricsCsv
from inkwash.training.module import DiffusionModule

log = logging.getLogger("inkwash")


def fit(directory: Path) -> tuple[L.Trainer, DiffusionModule]:
    """Train the configuration in directory, a resume's or config.yaml, from its last checkpoint if there is one."""
    rank = int(os.environ.get("RANK", 0))
    with logging_of(directory, rank):
        return _fit(directory, rank)


def _fit(directory: Path, rank: int) -> tuple[L.Trainer, DiffusionModule]:
    started = time.perf_counter()
    config, about = rundir.read_next_config(directory), json.loads((directory / "run.json").read_text())
    seed_process(config["seed"], rank)

    data = build(config["data"])
    module = build_module(config)
    loggers = [build(node, directory=str(directory)) for node in config["logger"].values()]
    callbacks = [build(node) for node in config["callbacks"].values()]
    found = resuming.find(directory)
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        callbacks.append(memory.MicroBatches(resuming.micro_batches(found)))
    trainer = build(
        config["trainer"],
        callbacks=[SameConfig(rundir.config_hash(config)), *callbacks, stop := StopOnSignal()],
        logger=loggers,
        default_root_dir=str(directory),
    )
    if config["compile"]:
        for denoiser in (module.denoiser, module.ema_denoiser):
            compile_network(denoiser.net, must=config["compile"] == "must")
    facts = describe(trainer, module, config, about)
    checkpoint, stored = resume(directory, found, config, trainer, loggers)
    if stored["global_step"] >= config["trainer"]["max_steps"]:
        log.info("nothing to do: trainer.max_steps=%d is reached", config["trainer"]["max_steps"])
        if trainer.is_global_zero and summarized(directory) < stored["global_step"]:  # killed between the two
            summarize(directory, stored["global_step"], last_row(loggers), facts, {})
        return trainer, module
    if checkpoint is not None:
        resuming.compare_images(stored, data.train.fingerprint)
    elif config["init_from"] is not None:
        resuming.start_from(rundir.find_weights(config["init_from"]), module)
    for logger in loggers:  # now that nothing refuses to go on with it
        logger.log_hyperparams({**config, "run": facts})
    try:
        with exhaustion(trainer, module):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    finally:
        stop.restore()
        sound = isinstance(sys.exc_info()[1], Stopped | None)
        tracking.finish(failed=not sound)
        if sound and dist.is_initialized():
            with suppress(RuntimeError):
                dist.barrier()  # together: launchers end the others soon after the first
    facts["batch_size_per_rank"] = facts["global_batch_size"] // (trainer.world_size * trainer.accumulate_grad_batches)
    if trainer.is_global_zero:
        seconds = {
            "seconds": time.perf_counter() - started,
            "seconds_outside_training": module.paused_seconds,
            "seconds_measuring": module.measuring_seconds,
        }
        latest = {**module.latest, "heldout/loss": module.scores.get("heldout_loss")}
        summarize(directory, trainer.global_step, latest, facts, seconds)
    return trainer, module


@contextmanager
def exhaustion(trainer: L.Trainer, module: DiffusionModule) -> Iterator[None]:
    """Raise UserError where the disk is full, or the device or the machine has no more memory."""
    reserve = memory.Reserve()
    try:
        yield
    except OSError as error:
        if (text := no_room(error)) is None:
            raise
        raise UserError(f"{text}, which goes on from the last checkpoint") from error
    except Exception as error:
        if not memory.is_exhaustion(error):
            raise
        traceback.clear_frames(error.__traceback__)  # which hold the activations
        reserve.give_back()
        said = " ".join(str(error).split())[:160]
        raise UserError(f"out of memory ({said}): {memory.advice(trainer, module)}") from None


def seed_process(seed: int, rank: int) -> None:
    """Different streams in every rank for whatever draws from a global generator; dropout is seeded anew each step."""
    value = seed_of(seed, "process", rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def describe(
    trainer: L.Trainer, module: DiffusionModule, config: dict[str, Any], about: dict[str, Any]
) -> dict[str, Any]:
    """What is worth knowing beside the configuration; the first lines of the output."""
    batch = config["data"]["batch_size"]
    cells = trainer.world_size * trainer.accumulate_grad_batches
    facts = {
        **about,
        "parameters": sum(p.numel() for p in module.denoiser.parameters()),
        "world_size": trainer.world_size,
        "global_batch_size": batch,
        "batch_size_per_rank": batch // cells,
        "precision": str(trainer.precision),
        "accelerator": trainer.accelerator.__class__.__name__.removesuffix("Accelerator").lower(),
    }
    log.info("run          %s", trainer.default_root_dir)
    log.info(
        "model        %s parameters, %s on %d x %s",
        f"{facts['parameters']:,}", facts["precision"], trainer.world_size, facts["accelerator"],
    )  # fmt: skip
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        log.info("batch        %d images, as many at a time as fit on each of %d ranks", batch, trainer.world_size)
    else:
        log.info(
            "batch        %d images = %d on each of %d ranks x %d accumulated",
            batch, batch // cells, trainer.world_size, trainer.accumulate_grad_batches,
        )  # fmt: skip
    return facts


def resume(
    directory: Path,
    found: tuple[Path, dict[str, Any]] | None,
    config: dict[str, Any],
    trainer: L.Trainer,
    loggers: list[Any],
) -> tuple[Path | None, dict[str, Any]]:
    """Where training goes on, said aloud; the records forget what came after. Returns checkpoint and content."""
    path, stored = found or (None, {"global_step": 0})
    if path is not None:
        resuming.compare(directory, stored, config)
        resuming.compare_layout(stored, config, trainer.world_size)
        log.info("resuming     from step %d, %s", stored["global_step"], path)
    if trainer.is_global_zero:
        sweep_up(directory)
        step = -1 if path is None else stored["global_step"]
        resuming.forget_after(directory / "metrics.jsonl", step)
        for logger in loggers:
            if isinstance(logger, MetricsCsv):
                logger.forget_after(step)
    return path, stored


def last_row(loggers: list[Any]) -> dict[str, Any]:
    """The latest of what training itself logs, from metrics.csv."""
    rows = next((logger.rows for logger in loggers if isinstance(logger, MetricsCsv)), {})
    latest = {name: value for step in sorted(rows) for name, value in rows[step].items() if value != ""}
    return {name: float(value) for name, value in latest.items() if name.startswith(("train/", "heldout/"))}


def summarized(directory: Path) -> int:
    """The step that summary.json is of, -1 without one."""
    try:
        return int(json.loads((directory / "summary.json").read_text())["steps"])
    except (FileNotFoundError, ValueError, TypeError, LookupError):  # not there, or damaged: it is written again
        return -1


def summarize(
    directory: Path, step: int, latest: dict[str, Any], facts: dict[str, Any], seconds: dict[str, float]
) -> None:
    """summary.json, and the last lines of the output."""
    records = directory / "metrics.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []
    share = seconds["seconds_measuring"] / seconds["seconds"] if seconds else 0.0
    summary = {
        "steps": step,
        "images": step * facts["global_batch_size"],
        "loss": latest.get("train/loss"),
        "heldout_loss": latest.get("heldout/loss"),
        "images_per_second": latest.get("train/images_per_second"),
        **{name: round(value, 1) for name, value in seconds.items()},
        **({"share_measuring": round(share, 4)} if seconds else {}),
        # The last of each name, what was measured last before what a change of the configuration has ended.
        "metrics": dict(sorted({r["name"]: r for r in lines}.items(), key=lambda item: -item[1]["step"])),
        **facts,
    }
    rundir.write_text(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    for name, record in summary["metrics"].items():
        log.info("%-12s %.4g", name, record["value"])
    if share:
        log.info("metrics took %.2g%% of the time", 100 * share)
    log.info("samples      %s", directory / "samples")
    log.info("checkpoints  %s", directory / "checkpoints")
    if command := offline.sync_command(directory):
        log.info("W&B          offline; upload with: %s", command)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    with reporting(here), meeting(here / "config.yaml"):
        fit(here)

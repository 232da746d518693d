"""What each rank of a training job does: instantiate and go."""

import json
import logging
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from inkwash import launch
from inkwash.agent import reporting
from inkwash.build import build, build_module
from inkwash.errors import UserError
from inkwash.random import seed_of
from inkwash.run import read_checkpoint
from inkwash.training import tracking
from inkwash.training.metrics_csv import MetricsCsv
from inkwash.training.module import DiffusionModule

log = logging.getLogger("inkwash")


class DefaultSignals(L.Callback):
    """SIGTERM ends a process. Lightning's handler waits for the other ranks, and can wait forever."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def fit(directory: Path) -> tuple[L.Trainer, DiffusionModule]:
    """Train the configuration in directory/config.yaml, from its last checkpoint if there is one."""
    started = time.perf_counter()
    rank = int(os.environ.get("RANK", 0))
    set_up_logging(directory, rank)
    config, about = launch.read_config(directory), json.loads((directory / "run.json").read_text())
    seed_process(config["seed"], rank)

    data = build(config["data"])
    module = build_module(config)
    loggers = [build(node, directory=str(directory)) for node in config["logger"].values()]
    callbacks = [build(node) for node in config["callbacks"].values()]
    trainer = build(
        config["trainer"],
        callbacks=[*callbacks, DefaultSignals()],
        logger=loggers,
        default_root_dir=str(directory),
    )
    if config["compile"]:
        module.denoiser.net.compile()
        module.ema_denoiser.net.compile()
    facts = describe(trainer, module, config, about)
    for logger in loggers:
        logger.log_hyperparams({**config, "run": facts})

    checkpoint = directory / "checkpoints" / "last.ckpt"
    if checkpoint.exists() and resume(checkpoint, config, loggers) >= config["trainer"]["max_steps"]:
        log.info("nothing to do: trainer.max_steps=%d is reached", config["trainer"]["max_steps"])
        return trainer, module
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.exists() else None)
    finally:
        tracking.finish(failed=sys.exc_info()[0] is not None)
    if trainer.is_global_zero:
        summarize(directory, trainer, module, facts, time.perf_counter() - started)
    return trainer, module


def set_up_logging(directory: Path, rank: int) -> None:
    """Logging of this rank: messages of rank 0 go to the console and to train.log."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Lightning's own: of its tree utilities, and of the averaged denoiser, which is in evaluation mode on purpose.
    for text in (".*isinstance.treespec, LeafSpec.*", "Found .* in eval mode.*", ".*does not have many workers.*"):
        warnings.filterwarnings("ignore", text)
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    formats = {logging.StreamHandler(sys.stderr): "%(message)s"}
    if rank == 0:
        formats[logging.FileHandler(directory / "train.log")] = "%(asctime)s %(message)s"
    for handler, text in formats.items():
        handler.setFormatter(logging.Formatter(text))
        log.addHandler(handler)


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
    log.info(
        "batch        %d images = %d on each of %d ranks x %d accumulated",
        batch, batch // cells, trainer.world_size, trainer.accumulate_grad_batches,
    )  # fmt: skip
    return facts


def resume(checkpoint: Path, config: dict[str, Any], loggers: list[Any]) -> int:
    """Say where training goes on, and have the records forget what came after; returns the step."""
    stored = read_checkpoint(checkpoint)
    if key := launch.other_model(stored.get("config", {}), config):
        raise UserError(f"{checkpoint} is a checkpoint of another {key} than config.yaml's: choose another run=NAME")
    step = stored["global_step"]
    log.info("resuming     from step %d", step)
    for logger in loggers:
        if isinstance(logger, MetricsCsv):
            logger.forget_after(step)
    records = checkpoint.parents[1] / "metrics.jsonl"
    if records.exists():
        kept = [line for line in records.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= step]
        launch.write_text(records, "".join(kept))
    return step


def summarize(
    directory: Path, trainer: L.Trainer, module: DiffusionModule, facts: dict[str, Any], seconds: float
) -> None:
    """summary.json, and the last lines of the output."""
    records = directory / "metrics.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []
    summary = {
        "steps": trainer.global_step,
        "images": trainer.global_step * facts["global_batch_size"],
        "loss": module.latest.get("train/loss"),
        "images_per_second": module.latest.get("train/images_per_second"),
        "seconds": round(seconds, 1),
        "seconds_outside_training": round(module.paused_seconds, 1),
        "metrics": {record["name"]: record for record in lines},  # the last of each name
        **facts,
    }
    launch.write_text(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    for name, record in summary["metrics"].items():
        log.info("%-12s %.4g", name, record["value"])
    log.info("samples      %s", directory / "samples")
    log.info("checkpoints  %s", directory / "checkpoints")
    if command := tracking.sync_command(str(directory)):
        log.info("W&B          offline; upload with: %s", command)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    with reporting(here):
        fit(here)

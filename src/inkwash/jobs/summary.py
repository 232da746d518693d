"""Describe a training at its start and summarise it at its end: first and last log lines, and summary.json."""

import logging
from datetime import datetime, timedelta
from typing import Any, cast

import lightning as L
import torch

from inkwash.config.shapes import network_shape
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.muon import Muon
from inkwash.reports.page import number
from inkwash.reports.run_files import RunFiles
from inkwash.runs.directory import RunDirectory
from inkwash.tracking import wandb_offline
from inkwash.tracking.csv_logger import MetricsCsv
from inkwash.training.flops import forward_flops, in_words
from inkwash.training.module import DiffusionModule

log = logging.getLogger("inkwash")

LOW_RATE = 2e-3  # of Muon: at a rate that is one of AdamW's its matrices hardly move
OBJECTIVE = ("prediction", "schedule", "weighting", "times", "loss")  # groups of conf/ that say what is optimised


def describe(
    trainer: L.Trainer, module: DiffusionModule, config: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """Log what is trained, on what and how; return the facts with the run's record, for loggers and summary.json."""
    batch = config["data"]["batch_size"]
    parts = trainer.world_size * trainer.accumulate_grad_batches
    facts = {
        **record,
        "parameters": sum(p.numel() for p in module.denoiser.parameters()),
        "world_size": trainer.world_size,
        "global_batch_size": batch,
        "batch_size_per_rank": batch // parts,
        "precision": str(trainer.precision),
        "memory_format": module.compute["memory_format"],
        "threads": module.compute["threads"],
        "accelerator": trainer.accelerator.__class__.__name__.removesuffix("Accelerator").lower(),
    }
    if (device := trainer.strategy.root_device).type == "cuda":
        name = torch.cuda.get_device_name(device)
        facts["gpu"] = name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"
    flops = None
    if trainer.is_global_zero and not config["compile"]:
        flops = forward_flops(cast(Any, module.denoiser.net), network_shape(config))
    choices = record.get("choices", {})
    log.info("run          %s", trainer.default_root_dir)
    log.info(
        "model        %s%s parameters%s",
        f"{choices['model']}: " if "model" in choices else "", f"{facts['parameters']:,}",
        f", {in_words(flops)} for a pass of an image" if flops else "",
    )  # fmt: skip
    if chosen := [f"{group}={choices[group]}" for group in OBJECTIVE if group in choices]:
        log.info("objective    %s", " ".join(chosen))
    optimizer = module.new_optimizer()
    rate = f"{choices['optimizer']}, lr {optimizer.param_groups[0]['lr']:g}, " if "optimizer" in choices else ""
    log.info("optimizer    %s%d steps of %d images", rate, trainer.max_steps, batch)
    if isinstance(optimizer, Muon):
        _warn_of_rates(optimizer)
    log.info(
        "device       %d x %s, %s, %s, %d thread%s",
        trainer.world_size, facts["accelerator"], facts["precision"], facts["memory_format"], facts["threads"],
        "s" * (facts["threads"] != 1),
    )  # fmt: skip
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        log.info("batch        %d images, as many at a time as fit on each of %d ranks", batch, trainer.world_size)
    elif parts > 1:
        log.info(
            "batch        %d images = %d on each of %d ranks x %d accumulated",
            batch, batch // parts, trainer.world_size, trainer.accumulate_grad_batches,
        )  # fmt: skip
    if config["logger"]:
        log.info("logs         %s", ", ".join(config["logger"]))
    return facts


def _warn_of_rates(optimizer: Muon) -> None:
    """Warn if optimizer.lr, which is the rate of a network's hidden matrices, is meant for AdamW, or serves nothing."""
    matrices, others = optimizer.param_groups
    if not matrices["params"]:
        log.warning(
            "the network has no hidden matrix for Muon: AdamW takes all of it, at optimizer.adamw_lr=%g; optimizer.lr "
            "counts for nothing", others["lr"],
        )  # fmt: skip
    elif matrices["lr"] <= LOW_RATE:
        log.warning(
            "optimizer.lr=%g is low for Muon, which takes 0.02 by default: if it is meant for AdamW, pass "
            "optimizer=adamw optimizer.lr=%g", matrices["lr"], matrices["lr"],
        )  # fmt: skip


def expected_end(step_seconds: float, steps: int, now: datetime) -> str:
    """Return how long the passes of a training take, and the time of day at which they alone would end.

    Args:
        step_seconds: time of the forward and backward passes of a step. The optimizer, grids and metrics come on top.
    """
    seconds = step_seconds * steps
    end = now + timedelta(seconds=seconds)
    day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    passes = f"{duration(seconds)} of passes, forward and back, to {day}{end:%H:%M}"
    return f"{passes}; the optimizer, grids and metrics come on top"


def duration(seconds: float) -> str:
    """Return seconds in the largest unit of which there are two: 95 s, 3 min, 2.5 hours, 4.2 days."""
    for unit, size, digits in (("days", 86400, 1), ("hours", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def summarize(
    run: RunDirectory,
    trainer: L.Trainer,
    module: DiffusionModule,
    loggers: list[Any],
    facts: dict[str, Any],
    seconds: float,
) -> None:
    """Write summary.json at the end of a training, and log the last lines."""
    parts = trainer.world_size * trainer.accumulate_grad_batches  # `auto` may have changed it
    times = {
        "seconds": seconds,
        "seconds_outside_training": module.paused_seconds,
        "seconds_measuring": module.measuring_seconds,
    }
    latest = {**module.latest, "heldout/loss": module.scores.get("heldout_loss")}
    if not module.latest:  # a start that had no time for a step
        latest = _last_row(loggers)
    facts = {**facts, "batch_size_per_rank": facts["global_batch_size"] // parts}
    _write(run, trainer.global_step, latest, facts, times)


def summarize_again(run: RunDirectory, step: int, loggers: list[Any], facts: dict[str, Any]) -> None:
    """Write summary.json if a kill came between the last checkpoint and it."""
    try:
        written = int(run.summary["steps"])
    except (UserError, ValueError, TypeError, LookupError):  # missing or damaged
        written = -1
    if written < step:
        _write(run, step, _last_row(loggers), facts, {})


def _last_row(loggers: list[Any]) -> dict[str, Any]:
    """Read the latest training values from metrics.csv."""
    rows = next((logger.rows for logger in loggers if isinstance(logger, MetricsCsv)), {})
    latest = {name: value for step in sorted(rows) for name, value in rows[step].items() if value != ""}
    return {name: float(value) for name, value in latest.items() if name.startswith(("train/", "heldout/"))}


def _write(
    run: RunDirectory, step: int, latest: dict[str, Any], facts: dict[str, Any], seconds: dict[str, float]
) -> None:
    fraction = seconds["seconds_measuring"] / seconds["seconds"] if seconds else 0.0
    summary = {
        "steps": step,
        "images": step * facts["global_batch_size"],
        "loss": latest.get("train/loss"),
        "heldout_loss": latest.get("heldout/loss"),
        "images_per_second": latest.get("train/images_per_second"),
        **{name: round(value, 1) for name, value in seconds.items()},
        **({"share_measuring": round(fraction, 4)} if seconds else {}),
        # The last record of each name; names that a changed configuration no longer measures come last.
        "metrics": dict(sorted({r["name"]: r for r in run.metric_records}.items(), key=lambda item: -item[1]["step"])),
        **facts,
    }
    write_json(run.summary_path, summary)
    files = RunFiles(run)
    for name, record in summary["metrics"].items():
        floor = files.floor(name)
        beside = "" if floor is None else f" (real images {number(floor)})"
        log.info("%-12s %s%s", name, number(record["value"]), beside)
    if seconds:
        part = f"; metrics took {100 * fraction:.2g}% of the time" if fraction else ""
        log.info("time         %s%s", duration(seconds["seconds"]), part)
    log.info("samples      %s", run.samples)
    log.info("checkpoints  %s", run.checkpoints.path)
    if run.report_path.exists():
        log.info("report       %s", run.report_path)
    if command := wandb_offline.sync_command(run.path):
        log.info("W&B          offline; upload with: %s", command)

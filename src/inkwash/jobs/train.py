"""Train: what each rank of a training job runs."""

import logging
import random
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

from inkwash.config.instantiate import build
from inkwash.config.shapes import network_shape
from inkwash.data.module import ImageDataModule
from inkwash.data.reader_count import Pace
from inkwash.data.report import log_report, report_of
from inkwash.errors import UserError, no_room
from inkwash.jobs.summary import describe, expected_end, summarize, summarize_again
from inkwash.launch.environment import RankEnv
from inkwash.launch.memory import keep_freed_memory
from inkwash.random import seed_of
from inkwash.runs.config_file import config_hash
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.open_loggers import open_loggers
from inkwash.training import micro_batches, resume
from inkwash.training.build import build_autoencoder, build_module
from inkwash.training.callbacks.begin_logging import BeginLogging
from inkwash.training.callbacks.latents import Latents
from inkwash.training.callbacks.own_values import OwnValues
from inkwash.training.callbacks.same_config import SameConfig
from inkwash.training.callbacks.stop_on_signal import StopOnSignal, Stopped
from inkwash.training.callbacks.time_limit import TimeLimit
from inkwash.training.compile import compile_network
from inkwash.training.compute_mode import ComputeMode, mode_of_old_runs
from inkwash.training.log_setup import logging_of
from inkwash.training.mode_choice import Choice, choose
from inkwash.training.module import DiffusionModule
from inkwash.training.network_check import check_network
from inkwash.training.profiling import Clock
from inkwash.training.threads import sharing, usable_cores
from inkwash.training.trainer import check_processes, resolve_device, start_group

log = logging.getLogger("inkwash")


def train(directory: Path) -> tuple[L.Trainer, DiffusionModule]:
    """Train the configuration in a run directory, from its newest checkpoint if there is one."""
    rank = RankEnv.current().rank
    with logging_of(directory, rank):
        return _train(RunDirectory(directory), rank)


def _train(run: RunDirectory, rank: int) -> tuple[L.Trainer, DiffusionModule]:
    """Build, plan, fit, summarise: the course of one rank."""
    started, config = time.perf_counter(), run.next_config
    seed_process(config["seed"], rank)
    data, module = build_data(config), build_module(config)
    check_network(
        module, network_shape(config), config["data"]["num_classes"], f"model._target_={config['model']['_target_']}"
    )
    loggers = open_loggers(config["logger"], run)
    plan = resume.plan(run, config, RankEnv.current().world_size)
    speed = _choose(config, module, plan)
    keep_up(data, run, speed.step_seconds, speed.mode.device)
    if config["compile"]:
        for denoiser in (module.denoiser, module.ema_denoiser):
            compile_network(denoiser.net, must=config["compile"] == "must")
    stop = StopOnSignal()
    trainer = _trainer(run, config, data, plan, speed.mode, stop)
    facts = describe(trainer, module, config, run.record)
    if speed.line:
        log.info("speed        %s", speed.line)
    if speed.step_seconds is not None:
        steps = config["trainer"]["max_steps"] - plan.step
        log.info("expected     %s", expected_end(speed.step_seconds, steps, datetime.now()))
    plan.announce()
    if module.loss.tunes and plan.path is None and plan.init_from is None:
        log.warning(
            "loss: %s tunes a trained network, and this one starts from random weights: pass init_from=NAME",
            type(module.loss).__name__,
        )
    done = plan.step >= config["trainer"]["max_steps"]
    if not done:
        plan.prepare(module, data)
    if rank == 0:  # once the plan is sure to fit
        resume.rewind(run, plan, loggers)
    if done:
        log.info("nothing to do: trainer.max_steps=%d is reached", config["trainer"]["max_steps"])
        if rank == 0:
            summarize_again(run, plan.step, loggers, facts)
        return trainer, module
    if rank == 0:
        facts["data"] = describe_data(run, data)
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    callbacks.insert(0, BeginLogging(loggers, {**config, "run": facts}))
    with _ending(stop, loggers), _exhaustion(trainer, module):
        trainer.fit(module, datamodule=data, ckpt_path=plan.path)
    if rank == 0:
        summarize(run, trainer, module, loggers, facts, time.perf_counter() - started)
        tell_times(trainer)
    return trainer, module


def tell_times(trainer: L.Trainer) -> None:
    """Log where the time went, if a profiler looked."""
    profiler: Any = trainer.profiler  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(profiler, Clock):
        for number, line in enumerate(textwrap.wrap(profiler.told(), 66)):
            log.info("%-12s %s", "" if number else "time", line)
        for path in sorted(Path(trainer.default_root_dir).glob("fit-profile*.txt")):
            log.info("profile      %s", path)


def build_data(config: dict[str, Any]) -> Any:
    """Return the data module of a configuration, with the autoencoder of a training on latents."""
    data, autoencoder = build(config["data"]), build_autoencoder(config)
    if autoencoder is not None:
        if not isinstance(data, ImageDataModule):
            raise UserError(
                f"autoencoder= needs inkwash.data.module.ImageDataModule, which encodes: {type(data).__name__} does not"
            )
        data.autoencoder = autoencoder
    return data


def keep_up(data: Any, run: RunDirectory, step_seconds: float | None, device: str = "cpu") -> None:
    """Tell the readers the time of a step: if it was not timed, that which the run began with.

    That of other devices, or of more or fewer of them, says nothing.
    """
    record, env = run.record, RankEnv.current()
    timed_on = f"{env.world_size} x {torch.cuda.get_device_name() if device == 'cuda' else device}"
    if step_seconds is None and record.get("step_timed_on") == timed_on:
        step_seconds = record.get("step_seconds")
    elif env.rank == 0 and step_seconds is not None:
        run.write_record({**record, "step_seconds": step_seconds, "step_timed_on": timed_on})
    if isinstance(data, ImageDataModule):
        data.pace = Pace(step_seconds, max(1, usable_cores() // sharing(RankEnv.current().local_world_size)))


def describe_data(run: RunDirectory, data: ImageDataModule) -> dict[str, Any]:
    """Load both splits, log what they are and write it to run.json; return it. The other ranks wait in `fit`."""
    data.setup()
    report = report_of(data)
    log_report(report)
    if data.batch_size > len(data.train):
        log.warning(
            "data         data.batch_size=%d is more than the %d training images: each step sees some of them twice",
            data.batch_size, len(data.train),
        )  # fmt: skip
    plain = report.plain()
    run.write_record({**run.record, "data": plain})
    return plain


def seed_process(seed: int, rank: int) -> None:
    """Seed the global generators, each rank's differently; dropout is seeded anew at each step (module.draws)."""
    value = seed_of(seed, "process", rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def _choose(config: dict[str, Any], module: DiffusionModule, plan: resume.ResumePlan) -> Choice:
    """Choose how the networks compute, and let the module compute that way."""
    trainer, env = config["trainer"], RankEnv.current()
    local, _ = check_processes(trainer["devices"], trainer["num_nodes"])
    device = resolve_device(trainer["accelerator"])
    if device.type == "cpu":
        keep_freed_memory()
    known = plan.compute
    if known is None and plan.path is not None:
        known = mode_of_old_runs(trainer, device, local)
    choice = choose(config, module, device, local, env.world_size, known, lambda: start_group(device))
    choice.mode.arrange(module.denoiser, module.ema_denoiser, module.averages)
    module.compute = choice.mode.plain()
    return choice


def _trainer(
    run: RunDirectory,
    config: dict[str, Any],
    data: Any,
    plan: resume.ResumePlan,
    mode: ComputeMode,
    stop: StopOnSignal,
) -> L.Trainer:
    """Build the Trainer, with the configured callbacks between those that every training has."""
    callbacks = [build(node) for node in config["callbacks"].values()]
    if limit := (config["trainer"].get("options") or {}).get("max_time"):
        callbacks.insert(0, TimeLimit(limit))  # Lightning adds none of its own beside it
    if config.get("autoencoder") is not None:
        callbacks.insert(0, Latents(data.autoencoder))
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        callbacks.append(micro_batches.MicroBatches(plan.micro_batches))
    return build(
        config["trainer"],
        precision=mode.precision,
        memory_format=mode.memory_format,
        threads=mode.threads,
        profiler=config.get("profiler"),
        callbacks=[SameConfig(config_hash(config)), *callbacks, OwnValues(), stop],
        logger=False,  # BeginLogging has them
        default_root_dir=str(run),
    )


@contextmanager
def _ending(stop: StopOnSignal, loggers: list[Any]) -> Iterator[None]:
    """At the end restore signal handlers, close what loggers have open, and wait for the other ranks."""
    try:
        yield
    finally:
        stop.restore()
        sound = isinstance(sys.exc_info()[1], Stopped | None)
        for logger in loggers:
            if hasattr(logger, "close"):
                logger.close(failed=not sound)
        if sound and dist.is_initialized():
            with suppress(RuntimeError):
                dist.barrier()  # launchers end the others soon after the first


@contextmanager
def _exhaustion(trainer: L.Trainer, module: DiffusionModule) -> Iterator[None]:
    """Raise UserError with advice if the disk is full, or the device or the machine runs out of memory."""
    reserve = micro_batches.Reserve()
    try:
        yield
    except OSError as error:
        if (text := no_room(error)) is None:
            raise
        raise UserError(f"{text}, which goes on from the last checkpoint") from error
    except Exception as error:
        if not micro_batches.is_exhaustion(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations
        reserve.release()
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"out of memory ({reason}): {micro_batches.advice(trainer, module)}") from None

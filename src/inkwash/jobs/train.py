"""Train: what each rank of a training job runs."""

import logging
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

from inkwash.config.instantiate import build
from inkwash.errors import UserError, no_room
from inkwash.jobs.summary import describe, summarize, summarize_again
from inkwash.launch.environment import RankEnv
from inkwash.random import seed_of
from inkwash.runs.config_file import config_hash
from inkwash.runs.directory import RunDirectory
from inkwash.tracking import wandb_logger
from inkwash.training import micro_batches, resume
from inkwash.training.build import build_module
from inkwash.training.callbacks.same_config import SameConfig
from inkwash.training.callbacks.stop_on_signal import StopOnSignal, Stopped
from inkwash.training.compile import compile_network
from inkwash.training.log_setup import logging_of
from inkwash.training.module import DiffusionModule

log = logging.getLogger("inkwash")


def train(directory: Path) -> tuple[L.Trainer, DiffusionModule]:
    """Train the configuration in a run directory, from its last checkpoint if there is one."""
    env = RankEnv.current()
    with logging_of(directory, env.rank):
        return _train(RunDirectory(directory), env)


def _train(run: RunDirectory, env: RankEnv) -> tuple[L.Trainer, DiffusionModule]:
    started = time.perf_counter()
    config = run.next_config
    seed_process(config["seed"], env.rank)
    data, module = build(config["data"]), build_module(config)
    loggers = [build(node, directory=str(run)) for node in config["logger"].values()]
    plan = resume.plan(run, config, env.world_size)
    stop = StopOnSignal()
    trainer = build(
        config["trainer"],
        callbacks=[SameConfig(config_hash(config)), *_callbacks(config, plan), stop],
        logger=loggers,
        default_root_dir=str(run),
    )
    if config["compile"]:
        for denoiser in (module.denoiser, module.ema_denoiser):
            compile_network(denoiser.net, must=config["compile"] == "must")
    facts = describe(trainer, module, config, run.record)
    plan.announce()
    if env.rank == 0:
        resume.rewind(run, plan, loggers)
    if plan.step >= config["trainer"]["max_steps"]:
        log.info("nothing to do: trainer.max_steps=%d is reached", config["trainer"]["max_steps"])
        if env.rank == 0:
            summarize_again(run, plan.step, loggers, facts)
        return trainer, module
    plan.prepare(module, data)
    for logger in loggers:  # now that nothing refuses to go on with it
        logger.log_hyperparams({**config, "run": facts})
    with _ending(stop), _exhaustion(trainer, module):
        trainer.fit(module, datamodule=data, ckpt_path=plan.path)
    if env.rank == 0:
        summarize(run, trainer, module, facts, time.perf_counter() - started)
    return trainer, module


def _callbacks(config: dict[str, Any], plan: resume.ResumePlan) -> list[L.Callback]:
    callbacks = [build(node) for node in config["callbacks"].values()]
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        callbacks.append(micro_batches.MicroBatches(plan.micro_batches))
    return callbacks


def seed_process(seed: int, rank: int) -> None:
    """Seed the global generators, another stream in every rank; dropout is seeded anew each step (module.draws)."""
    value = seed_of(seed, "process", rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


@contextmanager
def _ending(stop: StopOnSignal) -> Iterator[None]:
    """Restore signal handlers, finish the W&B run, and end together with the other ranks."""
    try:
        yield
    finally:
        stop.restore()
        sound = isinstance(sys.exc_info()[1], Stopped | None)
        wandb_logger.finish(failed=not sound)
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
        traceback.clear_frames(error.__traceback__)  # which hold the activations
        reserve.give_back()
        said = " ".join(str(error).split())[:160]
        raise UserError(f"out of memory ({said}): {micro_batches.advice(trainer, module)}") from None

"""Say what a training will cost before it begins: what the process of `inkwash plan` runs."""

import copy
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkwash.config.instantiate import build
from inkwash.config.shapes import network_shape
from inkwash.errors import UserError
from inkwash.jobs.layers import megabytes, state_per_weight, tell_memory, tell_size
from inkwash.jobs.summary import duration
from inkwash.reports.console import print_table
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_module
from inkwash.training.flops import PASSES, forward_flops
from inkwash.training.gpus import COUNTS, GPUS, Work, step_seconds, work_of
from inkwash.training.mode_choice import choose
from inkwash.training.mode_timing import TRUE, Trial
from inkwash.training.module import DiffusionModule
from inkwash.training.network_cost import memory
from inkwash.training.precision import allow_tf32
from inkwash.training.trainer import resolve_device

ROUNDS = 7
START = 10.0  # seconds before the first step


def show(directory: Path) -> None:
    """Print parameters, operations, memory, the measured speed here, and estimates for GPUs.

    Nothing is trained or written; a copy of the network takes a few steps on noise.
    """
    config = RunDirectory(directory).config
    asked = config.pop("plan")
    shape, batch, steps = network_shape(config), config["data"]["batch_size"], config["trainer"]["max_steps"]
    with torch.device("meta"):
        shadow: Any = build(config["model"])
    if not (flops := forward_flops(shadow, shape)):
        raise UserError("model: the network cannot be run without numbers, by which its operations are counted")
    needed = memory(shadow, shape, state_per_weight(config), 1 + len(config.get("averages") or {}))
    tell_size(shadow, flops)
    tell_memory(needed, batch)
    passing, whole, mode = measured(config)
    drawn = images_to_draw(config)
    total = steps * whole + drawn * passing / batch / PASSES + START
    print(f"speed here   {mode}: {1000 * whole:.3g} ms a step of {batch} images, {batch / whole:,.0f} images/s")
    print(f"time here    {duration(steps * whole)} for {steps:,} steps; {duration(total)} with grids and metrics")
    print(f"on GPUs      estimated, not measured: bfloat16, {asked['share']:.0%} of the peak of their data sheets at")
    print(
        "             most; small networks are limited by the start of kernels, many GPUs by the exchange of gradients"
    )
    rows = estimates(work_of(shadow, shape, flops, batch), steps, needed.of, asked["share"], asked["price"])
    cost = ["cost"] if asked["price"] is not None else []
    print_table(["GPU", "number", "images/s", "limit", "time", "GPU hours", *cost, "memory"], rows, names=1)


def measured(config: dict[str, Any]) -> tuple[float, float, Any]:
    """Return the seconds of a forward and backward pass of a batch, those of a whole step, and the compute mode."""
    module = build_module(config)
    device = resolve_device(config["trainer"]["accelerator"])
    mode = choose(config, module, device, 1).mode
    parts = config["trainer"]["accumulate_grad_batches"]
    images = config["data"]["batch_size"] // (parts if isinstance(parts, int) else 1)
    allow_tf32(device)
    trial = Trial(module, network_shape(config), images, device, TRUE.get(mode.precision))
    if trial.seconds(mode) == math.inf:  # prepares the kernels
        raise UserError(
            f"a pass of {images} images does not fit in memory, or the network cannot compute in {mode.precision}: "
            "pass trainer.accumulate_grad_batches=2 or more, a lower data.batch_size, or trainer.precision=32-true"
        )
    passing = config["data"]["batch_size"] / images * statistics.median(trial.seconds(mode) for _ in range(ROUNDS))
    step = optimizer_step(module.to(device))
    return passing, passing + statistics.median(step() for _ in range(ROUNDS)), mode


def optimizer_step(module: DiffusionModule) -> Callable[[], float]:
    """Return a function that makes a step of the module's optimizer and of one average, and returns its seconds."""
    optimizer, parameters = module.new_optimizer(), list(module.denoiser.parameters())
    average: list[Tensor] = [copy.deepcopy(parameter.detach()) for parameter in parameters]
    for parameter in parameters:
        parameter.grad = 1e-3 * torch.randn_like(parameter)

    def step() -> float:
        start = time.perf_counter()
        optimizer.step()
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 0.01)
        if parameters[0].is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    step()
    return step


def images_to_draw(config: dict[str, Any]) -> float:
    """Return the passes of one image that grids and metrics take during the training."""
    steps, passes = config["trainer"]["max_steps"], 0.0
    for name in ("samples", "evaluation"):
        if callback := config["callbacks"].get(name):
            times = steps / callback["every_n_steps"] if callback["every_n_steps"] else 1
            spacing = callback["sampler"].get("spacing") or {}
            passes += math.ceil(times) * callback["num_images"] * spacing.get("steps", 50)
    return passes


def estimates(work: Work, steps: int, needed: Any, share: float, price: float | None) -> list[list[str]]:
    """Return the rows of the table: each GPU, alone and several of them."""
    rows = []
    for name, (peak, room) in GPUS.items():
        before = math.inf
        for count in COUNTS:
            seconds, limit = step_seconds(work, peak * 1e12, count, share)
            if work.batch < count or seconds >= before:  # more of them gain nothing
                continue
            before = seconds
            hours = steps * seconds * count / 3600
            size = needed(-(-work.batch // count))
            cost = [f"{hours * price:,.2f}"] if price is not None else []
            speed, bytes_ = f"{work.batch / seconds:,.0f}", megabytes(size)
            fits = bytes_ if size < 0.8e9 * room else f"{bytes_}, too much"
            rows.append([name, str(count), speed, limit, duration(steps * seconds), f"{hours:,.2f}", *cost, fits])
    return rows

"""Say what a training will cost before it begins: what the process of `inkwash plan` runs."""

import math
from pathlib import Path
from typing import Any

import torch

from inkwash.config.instantiate import build
from inkwash.config.shapes import network_shape
from inkwash.errors import UserError
from inkwash.jobs.layers import megabytes, state_per_weight, tell_memory, tell_size
from inkwash.jobs.plan_speed import at_a_time, free_memory, least_memory, measured
from inkwash.jobs.summary import duration
from inkwash.process.schedules import Schedule
from inkwash.reports.console import print_table
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.base import Sampler
from inkwash.samplers.heun import Heun
from inkwash.training.build import build_module
from inkwash.training.callbacks.generation import scale_for
from inkwash.training.flops import PASSES, forward_flops
from inkwash.training.gpus import COUNTS, GPUS, Work, step_seconds, work_of
from inkwash.training.micro_batches import is_exhaustion
from inkwash.training.module import DiffusionModule
from inkwash.training.network_cost import Memory, memory
from inkwash.training.trainer import resolve_device

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
    tell_speed(config, needed, sum(parameter.numel() for parameter in shadow.parameters()))
    print(f"on GPUs      estimated, not measured: bfloat16, {asked['share']:.0%} of the peak of their data sheets at")
    print(
        "             most; small networks are limited by the start of kernels, many GPUs by the exchange of gradients"
    )
    parts = config["trainer"]["accumulate_grad_batches"]
    rows = estimates(work_of(shadow, shape, flops, batch), steps, needed.of, asked["share"], asked["price"], parts)
    cost = ["cost"] if asked["price"] is not None else []
    print_table(["GPU", "number", "images/s", "limit", "time", "GPU hours", *cost, "memory"], rows, names=2)


def tell_speed(config: dict[str, Any], needed: Memory, parameters: int) -> None:
    """Measure steps on this machine and print their speed, and the time of the training; or why that is impossible."""
    least, room = least_memory(needed, parameters), free_memory(resolve_device(config["trainer"]["accelerator"]))
    if least > room:
        print(f"speed here   not measured: it takes {megabytes(least)} of memory, and {megabytes(room)} are free")
        return
    module = build_module(config)
    try:
        speed = measured(config, module, needed)
    except Exception as error:
        if not is_exhaustion(error):
            raise
        why = f", {error}" if isinstance(error, MemoryError) else ""
        print(f"speed here   not measured: out of memory{why}")
        return
    batch, steps = config["data"]["batch_size"], config["trainer"]["max_steps"]
    drawn = images_to_draw(config, module) * speed.passing / batch / PASSES
    whole, total = steps * speed.step, steps * speed.step + drawn + START
    took = f"{1000 * speed.step:.3g} ms" if speed.step < 10 else f"{speed.step:,.0f} s"
    print(f"speed here   {speed.mode}: {took} a step of {batch} images, {_number(batch / speed.step)} images/s")
    if speed.images < at_a_time(config):
        print(f"             reckoned from passes of {speed.images} images: more take too long, or too much memory")
    print(f"time here    {duration(whole)} for {steps:,} steps; {duration(total)} with grids and metrics")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def images_to_draw(config: dict[str, Any], module: DiffusionModule) -> float:
    """Return the passes of one image that grids and metrics take during the training."""
    steps, passes, denoiser = config["trainer"]["max_steps"], 0.0, module.denoiser
    reconstructs = hasattr(denoiser.net, "reconstruct")  # an autoencoder, which draws nothing
    for name in ("samples", "evaluation"):
        if callback := config["callbacks"].get(name):
            times = math.ceil(steps / callback["every_n_steps"]) if callback["every_n_steps"] else 1
            guided = 1 if scale_for(module, callback["guidance"]) == 1 else 2
            each = 1 if reconstructs else guided * calls(build(callback["sampler"]), denoiser.schedule)
            passes += times * callback["num_images"] * len(callback.get("weights") or [None]) * each
    return passes


def calls(sampler: Sampler, schedule: Schedule) -> int:
    """Return how often a sampler evaluates the network: once in a step, by Heun's method twice but for the last."""
    steps = len(sampler.spacing(schedule)) - 1
    return 2 * steps - 1 if isinstance(sampler, Heun) else steps


def estimates(
    work: Work, steps: int, needed: Any, share: float, price: float | None, parts: int | str = 1
) -> list[list[str]]:
    """Return the rows of the table: each GPU, alone and several of them; a batch is passed in so many parts."""
    rows = []
    for name, (peak, room) in GPUS.items():
        before = math.inf
        for count in COUNTS:
            seconds, limit = step_seconds(work, peak * 1e12, count, share)
            if work.batch < count or seconds >= before:  # more of them gain nothing
                continue
            before = seconds
            hours = steps * seconds * count / 3600
            limit_bytes = 0.8e9 * room
            each = -(-work.batch // count)
            least = range(1, each + 1) if parts == "auto" else [parts]
            sizes = [needed(-(-each // int(part))) for part in least]
            size = next((size for size in sizes if size < limit_bytes), sizes[-1])
            cost = [f"{hours * price:,.2f}"] if price is not None else []
            speed, bytes_ = f"{work.batch / seconds:,.0f}", megabytes(size)
            fits = bytes_ if size < limit_bytes else f"{bytes_}, too much"
            rows.append([name, str(count), speed, limit, duration(steps * seconds), f"{hours:,.2f}", *cost, fits])
    return rows

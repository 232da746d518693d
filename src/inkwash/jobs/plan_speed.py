"""Measure the speed of a training before it begins: a few steps of a copy of its network on noise, on this machine."""

import copy
import math
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkwash.config.shapes import network_shape
from inkwash.training.compute_mode import ComputeMode
from inkwash.training.micro_batches import free
from inkwash.training.mode_choice import FIRST_IMAGES, choose
from inkwash.training.mode_timing import TRUE, Trial
from inkwash.training.module import DiffusionModule
from inkwash.training.network_cost import Memory
from inkwash.training.precision import allow_tf32
from inkwash.training.trainer import resolve_device

ROUNDS = 7
SECONDS = 20.0  # for passes: of a large network there are fewer, of fewer images
WORKING = 1.25  # memory of a pass, with what operations need while they run, as a multiple of what it keeps
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Speed:
    """Speed of a training on this machine.

    Attributes:
        images: that a pass was timed with.
        passing: seconds of a forward and backward pass of a batch.
        step: seconds of a whole step.
    """

    mode: ComputeMode
    images: int
    passing: float
    step: float


def at_a_time(config: dict[str, Any]) -> int:
    """Return how many images a training on one device passes at a time."""
    parts = config["trainer"]["accumulate_grad_batches"]
    return config["data"]["batch_size"] // (parts if isinstance(parts, int) else 1)


def least_memory(needed: Memory, parameters: int) -> float:
    """Return the bytes that measuring takes: a step of the fewest images, and another copy of the float32 weights."""
    return needed.weights + WORKING * FIRST_IMAGES * needed.per_image + 4 * parameters


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free here; infinity for a GPU, which refuses what it has no room for, or if unknown."""
    found = re.search(r"^MemAvailable: +(\d+) kB", MEMINFO.read_text(), re.M) if MEMINFO.exists() else None
    return 1024.0 * int(found[1]) if found and device.type == "cpu" else float("inf")


def measured(config: dict[str, Any], module: DiffusionModule, needed: Memory) -> Speed:
    """Time passes of the images of a batch, of fewer if all of them would take too long or too much memory."""
    device, batch = resolve_device(config["trainer"]["accelerator"]), config["data"]["batch_size"]
    mode = choose(config, module, device, 1).mode
    room = free_memory(device) - least_memory(needed, sum(p.numel() for p in module.denoiser.parameters()))
    most = min(at_a_time(config), FIRST_IMAGES + int(min(room / (WORKING * needed.per_image or 1), 1e9)))
    allow_tf32(device)
    trial = Trial(module, network_shape(config), max(1, most), device, TRUE.get(mode.precision))
    images, seconds = pass_seconds(trial, mode)
    del trial
    free()
    passing = batch / images * seconds
    step = optimizer_step(module.to(device))
    rounds = max(1, min(ROUNDS, int(SECONDS / step())))
    return Speed(mode, images, passing, passing + statistics.median(step() for _ in range(rounds)))


def pass_seconds(trial: Trial, mode: ComputeMode) -> tuple[int, float]:
    """Return how many images there is time and memory for, up to those of the trial, and the seconds of their pass.

    Raises:
        MemoryError: there is no memory for the fewest, or the network cannot compute in this mode.
    """
    most = len(trial.whole)
    trial.take(FIRST_IMAGES)
    images, once = len(trial.x_0), 0.0
    while True:
        trial.seconds(mode)  # prepares the kernels
        seconds = trial.seconds(mode)
        if seconds == math.inf:
            if not once:
                raise MemoryError(f"too little for {FIRST_IMAGES} images, or no way to compute in {mode.precision}")
            free()
            trial.take(images)
            break
        images, once = len(trial.x_0), seconds
        if images == most or 2 * ROUNDS * once > SECONDS:
            break
        trial.take(2 * images)
    rounds = max(1, min(ROUNDS, int(SECONDS / once)))
    return images, statistics.median(trial.seconds(mode) for _ in range(rounds))


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

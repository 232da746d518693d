"""Choose precision, memory format and CPU threads by timing steps, where the configuration leaves them to `auto`.

No flag of a processor says what is fast. bfloat16 doubles the speed of one server and halves that of another which
names the same instructions; two threads are 1.7 times one on a quiet machine, and ten times slower beside one busy
process. So a training of many steps begins by timing a few forward and backward passes of its own network, at its own
batch size, in each of the modes in question, by turns, and takes the fastest. Nothing of the run is touched: a copy of
the network computes the loss of noise, with random numbers of its own.

What may be chosen are float32 (with TF32 on GPUs, 10 bits of the mantissa in matrix products), bfloat16 autocast (7
bits), and float16 autocast with a loss scaler where a GPU has no bfloat16; weights and averages stay in float32. A mode
must be 5% faster than the simplest one (float32, or bfloat16 on a GPU that has it; contiguous; all threads) to replace
it, and one thread 20% faster than several.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from inkwash.config.shapes import network_shape
from inkwash.training.compute_mode import ComputeMode, simplest
from inkwash.training.micro_batches import free, is_exhaustion
from inkwash.training.mode_timing import TRUE, Trial, agreed, measure
from inkwash.training.precision import allow_tf32, bf16_is_native, is_auto
from inkwash.training.threads import is_busy, threads_as_they_were

log = logging.getLogger("inkwash")

# A shorter training is over before a choice has paid.
LEAST_STEPS = 200
# Timing takes this share of the training, but so many seconds at least and at most: it is the first step that waits.
SHARE, SECONDS, MOST_SECONDS = 0.02, 3.0, 6.0
FIRST_IMAGES = 2  # of a pass; a batch of large images may take minutes
# What replaces the simplest mode must take less than this share of its time: another layout of the same numbers for
# any gain that is more than noise, fewer bits or fewer threads for more.
FASTER, LESS_PRECISE_FASTER, FEWER_THREADS_FASTER = 0.98, 0.95, 0.8


@dataclass(frozen=True)
class Choice:
    """A mode, and how it was chosen.

    Attributes:
        line: for the log; empty if nothing was timed.
        step_seconds: time of a step's forward and backward passes; None if they were not timed at their own size.
    """

    mode: ComputeMode
    line: str = ""
    step_seconds: float | None = None


def choose(
    config: Mapping[str, Any],
    module: Any,
    device: torch.device,
    processes: int,
    world_size: int = 1,
    known: ComputeMode | None = None,
    join: Callable[[], Any] = lambda: None,
) -> Choice:
    """Return the mode of a training: what its configuration asks for, else that of its checkpoint, else the fastest.

    Args:
        config: of the run.
        module: its DiffusionModule, not compiled yet, which is left as it is.
        processes: on this machine, which share its cores.
        world_size: number of all processes, which choose together.
        known: the mode of the checkpoint that the training goes on from.
        join: joins the process group; called only if there is something to time.
    """
    trainer = config["trainer"]
    start = simplest(trainer, device, processes)
    open_keys = [key for key in ("precision", "memory_format") if is_auto(trainer.get(key, "auto"))]
    open_keys += ["threads"] if trainer["threads"] is None else []
    if known is not None and known.device == device.type:
        kept = {key: getattr(known, key) for key in open_keys}
        if kept.get("threads", 1) > start.threads:
            log.warning(
                "threads      %d, not the %d of the checkpoint, which this machine does not have: results agree to "
                "rounding, no longer bit for bit", start.threads, kept.pop("threads"),
            )  # fmt: skip
        return Choice(replace(start, **kept))
    if device.type != "cpu":
        open_keys = [key for key in open_keys if key != "threads"]
    if (untimed := trainer["max_steps"] < LEAST_STEPS or trainer["strategy"] == "fsdp") or config["compile"]:
        # Compiled code has its own layout and speed, but on a CPU the same matrix products decide on the precision.
        timed = [] if untimed or device.type != "cpu" else ["precision"]
        timed += ["threads"] if world_size == 1 and is_busy() else []
        open_keys = [key for key in open_keys if key in timed]
    if not open_keys:
        return Choice(start)
    if world_size > 1:
        join()
    # Where one rank has a single thread, or no bfloat16, none is timed with others: all time the same modes.
    single, without_bf16 = agreed([float(start.threads == 1), float(not bf16_is_native(device))])
    if without_bf16 and "precision" in open_keys:
        start = replace(start, precision="32-true")
    bf16 = not without_bf16
    stages = _threads(open_keys, not single), _pairs(start, open_keys, bf16, config)
    if not any(stages):
        return Choice(start)
    allow_tf32(device)
    accumulate = trainer["accumulate_grad_batches"]
    parts = accumulate if isinstance(accumulate, int) else 1
    images = max(1, config["data"]["batch_size"] // (world_size * parts))
    with threads_as_they_were():
        try:
            trial = _trial(module, network_shape(config), images, device, TRUE.get(start.precision))
            if agreed([float(trial is None)]) == [1.0] or trial is None:
                return Choice(start)
            choice = _fastest(trial, start, stages, trainer["max_steps"] * parts)
            if choice.step_seconds is None or config["compile"] or len(trial.x_0) < images or accumulate == "auto":
                return replace(choice, step_seconds=None)
            return replace(choice, step_seconds=parts * choice.step_seconds)
        finally:
            trial = None
            free()


def _trial(module: Any, *arguments: Any) -> Trial | None:
    """Return a trial, or None if there is no memory for it."""
    try:
        return Trial(module, *arguments)
    except Exception as error:
        if not is_exhaustion(error):
            raise
        return None


def _threads(open_keys: Sequence[str], several: bool) -> list[dict[str, Any]]:
    """Return the change of the number of threads to try."""
    return [{"threads": 1}] if "threads" in open_keys and several else []


def _pairs(start: ComputeMode, open_keys: Sequence[str], bf16: bool, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changes of precision and memory format to try, all pairs."""
    precisions, formats = [start.precision], [start.memory_format]
    if "precision" in open_keys:
        if start.device == "cpu":
            others = ["bf16-mixed"] if bf16 else []
        elif bf16:
            others = ["32-true"]
        else:  # a fused optimizer does not clip scaled gradients
            others = [] if config["optimizer"].get("fused") else ["16-mixed"]
        precisions += others
    if "memory_format" in open_keys:
        formats.append("channels_last")
    return [{"precision": p, "memory_format": f} for p in precisions for f in formats][1:]


def _fastest(trial: Trial, start: ComputeMode, stages: Sequence[Sequence[dict[str, Any]]], steps: int) -> Choice:
    """Return the fastest mode, with the time of a pass; each stage begins from the best of the one before."""
    modes = sum(len(stage) + 1 for stage in stages if stage)
    budget = _choose_images(trial, start, modes, steps)
    if budget is None:
        return Choice(start)  # the training will say what is wrong
    best, seen = start, {}
    for changes in stages:
        if changes:
            modes_here = [best, *(replace(best, **change) for change in changes)]
            times = measure(trial, modes_here, budget * len(modes_here) / modes)
            seen |= times
            if times[best] == math.inf:
                return Choice(start)
            best = pick(best, times)
    others = ", ".join(f"{_difference(best, mode)} {_shown(t)}" for mode, t in seen.items() if mode != best)
    n = len(trial.x_0)
    line = f"{best}: {_shown(seen[best])} for a pass of {n} image{'s' * (n > 1)} ({others})"
    return Choice(best, line, seen[best])


def _choose_images(trial: Trial, start: ComputeMode, modes: int, steps: int) -> float | None:
    """Let a trial pass as many images as three passes in each mode have time for; return the seconds for timing.

    None if the network cannot compute in the simplest mode.
    """
    trial.take(FIRST_IMAGES)
    while True:
        trial.seconds(start)  # the first pass prepares the kernels
        [once] = agreed([trial.seconds(start)])
        if once == math.inf:
            return None
        images, batch = len(trial.x_0), len(trial.whole)
        budget = min(max(SHARE * steps * once * batch / images, SECONDS), MOST_SECONDS)
        # Of more images each takes no longer than of fewer. Few sizes are tried: each has its kernels prepared.
        more = int(budget / (3 * modes * once))
        if images == batch or more < 2:
            return budget
        trial.take(more * images)


def pick(start: ComputeMode, times: Mapping[ComputeMode, float]) -> ComputeMode:
    """Return the fastest mode of those that are faster than the first one by enough, or the first one."""

    def enough(mode: ComputeMode) -> float:
        if mode.threads != start.threads:
            return FEWER_THREADS_FASTER
        return LESS_PRECISE_FASTER if mode.precision != start.precision else FASTER

    faster = [mode for mode in times if times[mode] < enough(mode) * times[start]]
    return min(faster, key=lambda mode: times[mode], default=start)


def _shown(seconds: float) -> str:
    return "impossible" if seconds == math.inf else f"{1000 * seconds:.3g} ms"


def _difference(mode: ComputeMode, other: ComputeMode) -> str:
    """Say how another mode differs."""
    if other.threads != mode.threads:
        return f"{other.threads} thread{'s' * (other.threads > 1)}"
    keys = ("precision", "memory_format")
    return " ".join(getattr(other, key) for key in keys if getattr(other, key) != getattr(mode, key))

"""python benchmarks/tax.py: what a step of the product costs over a bare loop of the same step, in processor time.

A tiny network (one level, 8 channels, batches of 8 digits, float32, one thread) leaves little but the overhead. The
product is `inkwash train` as it is, without grids and metrics, in a process of its own; the bare loop draws the same
kinds of random numbers, computes the same loss and takes the same optimizer's step, and does nothing else. Both run in
turns, and medians over the steps are compared: of a step's processor time, from one training_step to the next, without
that of the loss and its gradient, which is the same and varies more than the rest.
`--without callbacks.guard` leaves a callback out; `--profile` prints where the product's time goes.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from inkwash import compose
from inkwash.launch import quick_imports

SMALL = (
    "model.channels=8", "model.channel_mult=[1]", "data.batch_size=8", "optimizer=adamw", "trainer=cpu",
    "trainer.threads=1", "trainer.precision=32-true", "trainer.memory_format=contiguous", "logger=csv",
    "~callbacks.samples", "~callbacks.evaluation", "~callbacks.heldout", "~callbacks.checkpoint", "~callbacks.progress",
)  # fmt: skip
SKIPPED = 50  # steps at the start, which prepare kernels


class Stopwatch:
    """The processor time of loss and gradient, in all calls of them since it was last read."""

    def __init__(self) -> None:
        from inkwash.losses.base import Loss

        self.seconds = 0.0
        for owner, name in ((Loss, "forward"), (torch.Tensor, "backward")):
            setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, function: Any) -> Any:
        """Wrap a function, to add up its time."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.seconds += time.process_time() - start
            return result

        return call

    def read(self) -> float:
        """Return the seconds, and begin again at 0."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def product(overrides: list[str], steps: int, profile: bool) -> list[float]:
    """Train in this process; returns the processor time of each step beside loss and gradient."""
    quick_imports.defer()
    from omegaconf import OmegaConf

    from inkwash.jobs.train import train
    from inkwash.runs.directory import RunDirectory
    from inkwash.training.module import DiffusionModule

    config: Any = OmegaConf.to_container(compose(*SMALL, f"trainer.max_steps={steps}", *overrides), resolve=True)
    for key in ("run", "sweep", "resume"):
        config.pop(key, None)
    marks: list[float] = []
    computing: list[float] = []
    watch, plain = Stopwatch(), DiffusionModule.training_step

    def marked(self: Any, *args: Any) -> Any:
        computing.append(watch.read())
        marks.append(time.process_time())
        return plain(self, *args)

    DiffusionModule.training_step = marked
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        run.write_config(config)
        run.write_record({"id": "tax", "overrides": [], "sweep": None, "resume": "auto"})
        with contextlib.redirect_stdout(sys.stderr):
            if profile:
                import cProfile
                import pstats

                profiler = cProfile.Profile()
                profiler.runcall(train, run.path)
                pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)
            else:
                train(run.path)
    return [b - a - inside for (a, b), inside in zip(pairwise(marks), computing[1:], strict=True)]


def bare(overrides: list[str], steps: int) -> list[float]:
    """Take the same step in a loop of one's own; returns the same times."""
    quick_imports.defer()
    from omegaconf import OmegaConf

    from inkwash.data.digits import Digits
    from inkwash.random import Draws, generator
    from inkwash.training.build import build_module

    config: Any = OmegaConf.to_container(compose(*SMALL, *overrides), resolve=True)
    torch.set_num_threads(1)
    module = build_module(config)
    denoiser, loss, size = module.denoiser, module.loss, config["data"]["batch_size"]
    optimizer = module.optimizer([*denoiser.parameters()])
    data = Digits().load("train", (1, 8, 8))
    x, y = data.images.float() / 127.5 - 1, data.labels
    draws, watch = Draws([generator("bare")]), Stopwatch()
    times, last = [], time.process_time()
    for _ in range(steps):
        now = time.process_time()
        times.append(now - last - watch.read())
        last = now
        index = torch.randint(len(x), (size,))
        loss(denoiser, x[index], y[index], draws).loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return times[1:]


def main() -> None:
    """Run both in turns, and print medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--without", action="append", default=[], help="a key to leave out, callbacks.guard")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=["product", "bare"])
    options = parser.parse_args()
    overrides = [f"~{key}" for key in options.without]
    if options.only == "bare":
        return print(json.dumps(bare(overrides, options.steps)))
    if options.only == "product" or options.profile:
        return print(json.dumps(product(overrides, options.steps, options.profile)[: 0 if options.profile else None]))
    rounds: dict[str, list[float]] = {"bare": [], "product": []}
    for _ in range(options.rounds):
        for name, medians in rounds.items():
            command = [sys.executable, __file__, "--only", name, "--steps", str(options.steps)]
            command += [part for key in options.without for part in ("--without", key)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                sys.exit(done.stderr)
            medians.append(1000 * statistics.median(json.loads(done.stdout.splitlines()[-1])[SKIPPED:]))
    for name, medians in rounds.items():
        print(f"{name:8} {statistics.median(medians):.2f} ms ({', '.join(f'{m:.2f}' for m in sorted(medians))})")
    difference = statistics.median(rounds["product"]) - statistics.median(rounds["bare"])
    print(f"product over bare loop: {difference:.2f} ms a step")
    return None


if __name__ == "__main__":
    main()

"""Lightning's profilers, which also tell in one line where the time of a training went."""

import contextlib
import time
from collections import defaultdict
from typing import Any

from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, PyTorchProfiler, SimpleProfiler

REST = "the rest"
NOTHING = contextlib.nullcontext()
# Parts of the names of actions, by what the line calls them; the first that fits counts.
PARTS = {
    "metrics": ("Evaluation", "HeldoutLoss"),
    "grids": ("SampleGrid",),
    "checkpoints": ("Checkpoint", "save_checkpoint"),
    "report": ("[Callback]Report",),
    "data": ("dataloader_next", "batch_to_device", "before_batch_transfer", "after_batch_transfer", "DataModule"),
    "backward": ("backward",),
    "optimizer": ("optimizer", "clipping", "zero_grad"),
    "forward": ("training_step",),
}


class Clock(Profiler):
    """Mixin of a profiler: adds up the seconds that each action takes without the actions within it.

    On a GPU these are the seconds of the CPU, which runs ahead of it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def start(self, action_name: str) -> None:
        self._count()
        self._open.append(action_name)
        super().start(action_name)

    def stop(self, action_name: str) -> None:
        super().stop(action_name)
        self._count()
        if self._open:
            self._open.pop()

    def _count(self) -> None:
        """Give the time since the last call to the innermost open action."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def told(self) -> str:
        """Return the shares of the parts of a training, the largest first: `12.3 s: backward 41%, forward 33%`."""
        shares: dict[str, float] = defaultdict(float)
        for action, seconds in self.seconds.items():
            shares[part_of(action)] += seconds
        total = sum(shares.values())
        order = sorted(shares, key=lambda part: (part == REST, -shares[part]))
        parts = ", ".join(f"{part} {shares[part] / total:.0%}" for part in order)
        return f"{total:.1f} s: {parts}" if total else "nothing was timed"


def part_of(action: str) -> str:
    """Return the part of a training that an action of Lightning's belongs to."""
    return next((part for part, words in PARTS.items() if any(word in action for word in words)), REST)


class Simple(Clock, SimpleProfiler):
    """Seconds of each action."""


class Advanced(Clock, AdvancedProfiler):
    """Python's own profile of each action."""


class PyTorch(Clock, PyTorchProfiler):
    """Operations of torch, with a trace for a browser."""


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler that profiles nothing, without a new context for each of 140 parts of a step."""

    def profile(self, action_name: str) -> Any:
        return NOTHING


PROFILERS: dict[str, type[Clock]] = {"simple": Simple, "advanced": Advanced, "pytorch": PyTorch}


def build_profiler(name: str | None, directory: str | None) -> Profiler:
    """Return the profiler of this name, which writes fit-profile.txt to a directory; None for one that does nothing."""
    # Named files, because Lightning's log, where it would write otherwise, is off.
    return PROFILERS[name](directory, "profile") if name else NoProfiler()

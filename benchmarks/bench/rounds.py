"""The parent's end: sides in processes of their own, which take turns, and what their times say.

Nothing of two sides runs at the same time. A turn is some steps of one side, of which the first ones are left out (they
find cold caches); a round is a turn of each side, in an order drawn anew, so that none always follows the same other.
Ratios are taken within a round, because a machine's speed drifts, and told by their median and quartiles over the
rounds.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gate import PORT

BENCHMARKS = Path(__file__).parents[1]
ROOT = BENCHMARKS.parent
SKIPPED = 1  # steps at the start of each turn
PATIENCE = 900.0  # seconds to wait for a side to answer


class SideError(Exception):
    """A side's process ended before its time; the message is the last line it wrote."""


@dataclass(frozen=True)
class Turn:
    """Seconds of a step in one turn of a side: medians over its steps."""

    wall: float
    processor: float


@dataclass
class Side:
    """One of the programs that are compared.

    Attributes:
        name: in tables.
        command: its command line; it calls a gate before each step.
        threads: CPU threads of its process.
        environment: variables beside the parent's.
        peak: its greatest resident memory in bytes, known after a turn.
    """

    name: str
    command: Sequence[str]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    peak: int = 0
    stream: Any = None

    def start(self, folder: Path) -> None:
        """Start the process in a folder, where its output goes too."""
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / "output.txt"
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0.5)
        with open(self.output, "w") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                self.command, cwd=folder, env={**self.variables(), PORT: str(self.server.getsockname()[1])},
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it is about to take its first step. Raises SideError if it never gets there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection, _ = self.server.accept()
                break
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise self.error() from None
        connection.settimeout(PATIENCE)
        self.stream = connection.makefile("rw")
        connection.close()  # once the stream is closed too
        self._answer()

    def take(self, steps: int) -> list[tuple[float, float]]:
        """Let it take some steps; returns the wall-clock and processor time of each."""
        try:
            self.stream.write(f"{steps}\n")
            self.stream.flush()
        except OSError:
            raise self.error() from None
        marks = self._answer()
        return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]

    def turn(self, steps: int) -> Turn:
        """Return the medians of some steps, after those that are left out."""
        times = self.take(SKIPPED + steps)[SKIPPED:]
        return Turn(*(statistics.median(column) for column in zip(*times, strict=True)))

    def close(self) -> None:
        """End the process and those that it has started, a rank in a session of its own among them."""
        if self.stream is not None:
            self.stream.close()  # its gate takes this as the end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.server.close()

    def error(self) -> SideError:
        """Return the reason why it ended: its last line."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)  # it may still be writing that
        self.close()
        lines = self.output.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return SideError(f"{self.name}: {lines[-1][:300]} (exit code {self.process.returncode})")

    def variables(self) -> dict[str, str]:
        """Return the environment of its process."""
        path = [str(ROOT / "src"), str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ, "OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": os.pathsep.join(path),
            "INKWASH_TRUST": "bench", "HF_HUB_OFFLINE": "1", **self.environment,
        }  # fmt: skip

    def _answer(self) -> list[list[float]]:
        try:
            line = self.stream.readline()
        except TimeoutError:
            line = ""
        if not line:
            raise self.error()
        answer = json.loads(line)
        self.peak = answer["peak"]
        return answer["steps"]


def loop(name: str, kind: str, threads: int, **options: object) -> Side:
    """Return a side that is one of the loops of side.py."""
    return Side(name, [sys.executable, "-m", "bench.side", kind, json.dumps({"threads": threads, **options})], threads)


Turns = dict[str, list[Turn]]


def interleave(sides: Sequence[Side], folder: Path, rounds: int, seconds: float) -> tuple[Turns, dict[str, str]]:
    """Start all sides, let them take turns of about so many seconds, and end them.

    Returns:
        The turns of each side, one a round; and why others have none.
    """
    running: list[tuple[Side, int]] = []
    turns: Turns = {}
    failed: dict[str, str] = {}
    try:
        for i, side in enumerate(sides):
            with _noting(side, failed):
                running.append((side, _steps_for(side, folder / str(i), seconds)))
                turns[side.name] = []
        order = random.Random(0)
        for _ in range(rounds):
            for side, steps in order.sample(running, len(running)):
                if side.name not in failed:
                    with _noting(side, failed):
                        turns[side.name].append(side.turn(steps))
        return {name: of_side for name, of_side in turns.items() if name not in failed}, failed
    finally:
        for side, _ in running:
            side.close()


def _steps_for(side: Side, folder: Path, seconds: float) -> int:
    """Start a side; returns how many steps it takes in a turn."""
    side.start(folder)
    side.wait()
    side.take(2)  # the very first ones prepare kernels
    return max(2, round(seconds / side.take(2)[-1][0]))


@contextlib.contextmanager
def _noting(side: Side, failed: dict[str, str]) -> Iterator[None]:
    """Note why a side has failed; the others go on."""
    try:
        yield
    except SideError as error:
        failed[side.name] = str(error)


@dataclass(frozen=True)
class Spread:
    """A median over rounds and its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return median and quartiles of values, of which there is at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def ratios(turns: Sequence[Turn], others: Sequence[Turn], clock: str = "wall") -> Spread:
    """Return how many times as long others take, round by round: 2 where a step takes them twice as long."""
    return Spread.of([getattr(b, clock) / getattr(a, clock) for a, b in zip(turns, others, strict=True)])

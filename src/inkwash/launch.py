"""A job is a group of processes that work in a directory: this side starts them and waits, without torch."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from inkwash.cluster import Place
from inkwash.rundir import write_text
from inkwash.training.processes import SIGNALS, passing_on

# What a job exits with after a signal: 130, 143, 138 and 140.
STOPPED = tuple(128 + number for number in SIGNALS)
GRACE_SECONDS = 45


def config_dir() -> str:
    """conf/: beside src/ in a checkout, inside the package when installed from a wheel."""
    inside = Path(__file__).parent / "conf"
    return str(inside if inside.is_dir() else Path(__file__).parents[2] / "conf")


def exit_code(status: int) -> int:
    """A process's status as a shell gives it: 128 + n for one that signal n ended."""
    return status if status >= 0 else 128 - status


def visible_gpus() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, or those of the machine, without torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU \d+", listed, re.MULTILINE)))]


def start(
    module: str, directory: Path, accelerator: str, devices: int | str, place: Place | None = None, told: str = ""
) -> int:
    """Run `python -m module directory` on every rank, wait, and return the exit status.

    The processes form sessions of their own, so that nothing of one job reaches the next. Signals are passed on: a
    training saves and stops (callbacks/signals.py). They end this process too once the job is over.

    Args:
        place: of this process among those that torchrun or srun has started: then it starts one rank, its own.
        told: what the command line asked for, which must be the same on all of them.
    """
    if place is not None:
        return _start_rank(module, directory, place, told)
    command = [sys.executable, "-u", "-m", "inkwash.agent", module, str(directory), accelerator, str(devices)]
    agent = subprocess.Popen(command, start_new_session=True)
    return _wait(agent, lambda: os.killpg(agent.pid, signal.SIGKILL))


def _start_rank(module: str, directory: Path, place: Place, told: str) -> int:
    """One rank, in the session it was counted in, where its launcher finds it."""
    report = directory / f"error-rank-{place.rank}.txt"
    for stale in [report, *([directory / "error.txt"] if place.rank == 0 else [])]:
        stale.unlink(missing_ok=True)
    variables = {**place.variables(), "INKWASH_TOLD": told}
    rank = subprocess.Popen([sys.executable, "-u", "-m", module, str(directory)], env={**os.environ, **variables})
    status = exit_code(_wait(rank, rank.kill))
    if status and report.exists():
        print(text := report.read_text("utf-8").rstrip(), file=sys.stderr)
        if place.rank == 0:
            write_text(directory / "error.txt", text + "\n")
    return status


def _wait(process: subprocess.Popen, kill: Callable[[], None]) -> int:
    """Its exit status. Signals go to it; after the first one this process ends with it."""

    def pass_on(number: int) -> None:
        process.send_signal(number)
        signal.signal(signal.SIGALRM, lambda *_: kill())
        signal.alarm(GRACE_SECONDS)

    try:
        with passing_on(pass_on) as received:
            status = process.wait()
    finally:
        signal.alarm(0)
    if received:
        number, handler = received[0]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)  # submitit's, which puts the job back into SLURM's queue
        # Not an exception: a sweep would go on with its next job.
        sys.exit(128 + number)
    return status

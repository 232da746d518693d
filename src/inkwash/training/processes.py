"""Which processes end with which, and which may work in a run directory. No torch: the parents of a job ask too."""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inkwash.errors import UserError

# Ctrl-C, and what schedulers send: a training saves and stops.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_PDEATHSIG = 1
# Longer than any rank takes to save and stop (callbacks/signals.py).
PATIENCE_SECONDS = 45


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def serve(_worker: int) -> None:
    """In a process that reads data: a signal for the job, sent to its group, is not for this one.

    The training finishes the step that is under way, which needs its batch; the readers end with it.
    """
    os.setpgid(0, 0)
    die_with_parent(signal.SIGKILL)


@contextlib.contextmanager
def passing_on(pass_on: Callable[[int], None]) -> Iterator[list[tuple[int, Any]]]:
    """Have signals handed to others, who save and stop, and list them, each with who would have handled it here."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    received: list[tuple[int, Any]] = []

    def receive(number: int, _frame: Any) -> None:
        received.append((number, before[number]))
        pass_on(number)

    for number in SIGNALS:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class OccupiedError(UserError):
    """Another process trains in the run directory."""


def claim(file: Any) -> bool:
    """Whether an open file is now this process's alone; until it closes the file or ends, however it ends."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # some file systems know no locks
    return True


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Have a run directory for oneself, from before anything is written for the ranks until they have ended.

    launch.lock is for other launchers to see. train.log is the ranks' own (logs.py), who claim it only once they have
    imported torch, and may outlive a launcher that was killed.

    Raises:
        OccupiedError: somebody still trains there after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    with open(directory / "launch.lock", "a") as lock:
        _wait_for(lock, directory, deadline)
        with open(directory / "train.log", "a") as log:
            _wait_for(log, directory, deadline)
        yield


def _wait_for(file: Any, directory: Path, deadline: float) -> None:
    told = False
    while not claim(file):
        if time.monotonic() > deadline:
            raise OccupiedError(f"another process trains in {directory}: wait for its end, or choose another run=NAME")
        if not told:
            print(f"waiting for another process that trains in {directory}", file=sys.stderr)
        told = True
        time.sleep(0.2)

"""Handle signals in the processes of a job: pass them on to children, die with the parent."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Ctrl-C and the signals that schedulers send: a training saves and stops.
SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform != "win32":
    SIGNALS += (signal.SIGUSR1, signal.SIGUSR2)
# Exit statuses of a job that was stopped by one of them: 130, 143, 138 and 140.
STOPPED = tuple(128 + number for number in SIGNALS)
PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def serve(_worker: int) -> None:
    """Move a data loader's worker out of the job's process group, and end it with its parent.

    A signal to the group must not end it: the training finishes the step that is under way, which needs its batch.
    """
    os.setpgid(0, 0)
    die_with_parent(signal.SIGKILL)


@contextlib.contextmanager
def passing_on(pass_on: Callable[[int], None]) -> Iterator[list[tuple[int, Any]]]:
    """Pass signals on while the body runs; yields the list of those received, each with its handler from before."""
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

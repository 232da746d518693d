"""Lock a run directory for one training at a time."""

import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from typing import Any

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory

# Longer than any rank takes to save and stop (training/callbacks/stop_on_signal.py).
PATIENCE_SECONDS = 45


class OccupiedError(UserError):
    """Another process trains in the run directory."""


def claim(file: Any) -> bool:
    """Lock an open file for this process, until it closes the file or ends; returns False if another has it."""
    if sys.platform == "win32":  # where nothing trains
        return True
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # some file systems have no locks
    return True


def is_training(run: RunDirectory) -> bool:
    """Tell whether a process has the run directory: a command or, if that was killed, its rank 0."""
    for path in (run.lock_path, run.log_path):
        try:
            if path.is_file():
                with open(path, "a") as file:
                    if not claim(file):
                        return True
        except OSError:  # another user's run, which is read-only
            continue
    return False


@contextlib.contextmanager
def alone(run: RunDirectory) -> Iterator[None]:
    """Lock a run directory, from before anything is written for the ranks until they have ended.

    launch.lock keeps other commands out. train.log is locked by rank 0 (training/log_setup.py), which does so only
    once it has imported torch, and may outlive a command that was killed.

    Raises:
        OccupiedError: another training still has it after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    with open(run.lock_path, "a") as lock:
        _wait_for(lock, run, deadline)
        with open(run.log_path, "a") as log:
            _wait_for(log, run, deadline)
        yield


def _wait_for(file: Any, run: RunDirectory, deadline: float) -> None:
    waiting = False
    while not claim(file):
        if time.monotonic() > deadline:
            raise OccupiedError(f"another process trains in {run}: wait for its end, or choose another run=NAME")
        if not waiting:
            print(f"waiting for another process that trains in {run}", file=sys.stderr)
        waiting = True
        time.sleep(0.2)

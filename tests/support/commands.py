"""The commands as subprocesses, as make and users start them."""

import subprocess
import sys

from support.runs import environment

QUICK = ("debug=fast", "model.channels=8", "data.batch_size=16", "trainer.precision=32-true", "~callbacks.report")


def inkwash(command, *arguments, cwd, timeout=200, **variables):
    """Run `python -m inkwash.COMMAND` in cwd."""
    return subprocess.run(
        [sys.executable, "-m", f"inkwash.{command}", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment(**variables),
    )  # fmt: skip


def ours(path):
    """Return the command lines of living processes that work on a directory."""
    lines = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if str(path) in line and "inkwash" in line]

"""Another process that holds the lock of a file, as a command or a rank does."""

import subprocess
import sys
from contextlib import contextmanager

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path):
    """Hold the lock of a file while the body runs."""
    holder = subprocess.Popen(
        [sys.executable, "-IS", "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    try:
        yield
    finally:
        holder.communicate(b"")

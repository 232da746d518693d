"""The child's end of a measurement: a gate in a loop, which opens for as many steps as the parent asks for.

A loop calls its gate before each step. So the loops that are compared, each in a process of its own, take turns on one
machine, and each can be a real program: `inkwash train`, with the callback of callback.py, or a peer's own trainer.
"""

import contextlib
import json
import os
import resource
import socket
import sys
import time

PORT = "INKWASH_BENCH_GATE"  # environment variable with the port at which the parent listens


class Gate:
    """Stops a loop between two steps, until the parent wants more of them, and reports how long each took."""

    def __init__(self) -> None:
        self.stream = socket.create_connection(("127.0.0.1", int(os.environ[PORT]))).makefile("rw")
        self.left = 0
        self.marks: list[tuple[float, float]] = []

    def __call__(self) -> None:
        """Mark the end of a step; wait if the parent has had as many as it asked for."""
        self.marks.append((time.perf_counter(), time.process_time()))
        if self.left == 0:
            self._say({"steps": self.marks, "peak": peak_bytes()})
            line = self.stream.readline()
            if not line:
                os._exit(0)  # the parent is gone
            self.left = int(line)
            self.marks = [(time.perf_counter(), time.process_time())]
        self.left -= 1

    def _say(self, message: dict) -> None:
        self.stream.write(json.dumps(message) + "\n")
        self.stream.flush()


def peak_bytes() -> int:
    """Return the greatest resident memory of this process so far, since it was started.

    On Linux ru_maxrss would do only for a small parent: a process begins with the value of the one that started it.
    """
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

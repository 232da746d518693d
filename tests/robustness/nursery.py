"""A process that has imported everything and forks jobs: a life costs a second instead of ten.

Reads a line of JSON for each job, {directory, processes, environment, output, limits}, answers with its process id,
which is its process group too, and with its exit status when it has ended.
"""

import contextlib
import ctypes
import json
import os
import resource
import socket
import sys
import time
from pathlib import Path

import torch

from inkwash.jobs.train import train
from inkwash.launch.report import reporting

PR_SET_CHILD_SUBREAPER = 36
torch.set_num_threads(1)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def rank(number, order, port):
    processes = order["processes"]
    os.environ.update(
        RANK=str(number), LOCAL_RANK=str(number), GROUP_RANK="0", WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="nursery",
    )  # fmt: skip
    with reporting(Path(order["directory"])):
        train(Path(order["directory"]))
    sys.stdout.flush()
    os._exit(0)


def job(order):
    os.setsid()
    os.environ.update(order["environment"])
    for name, value in order["limits"].items():
        if name == "RLIMIT_AS":  # beside what the process has already
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(getattr(resource, name), (value, resource.RLIM_INFINITY))
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    port = free_port()
    for number in range(1, order["processes"]):
        if os.fork() == 0:
            rank(number, order, port)
    rank(0, order, port)


def wait_for_group(leader):
    """Until the other ranks have had their say, too, which a dead parent leaves to this process."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-leader, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def main():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            job(order)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        wait_for_group(child)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()

"""A process that has imported everything and forks training jobs: a start costs a second instead of ten.

`python -m support.job_server` reads a line of JSON for each job, {directory, processes, environment, output, limits};
answers with its process id, which is its process group too, and with its exit status when it has ended.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from inkwash.launch import quick_imports

quick_imports.defer()  # as in every rank

from inkwash.jobs.train import train
from inkwash.launch.report import reporting
from support.runs import environment

PR_SET_CHILD_SUBREAPER = 36


class JobServer:
    """The client: starts the process and runs jobs in its forks, one after another."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.job_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip
        self.pid = None

    def start(self, directory, processes=1, limits=None, **environment):
        if self.pid is not None:  # left by a test that failed
            self.kill()
        order = {
            "directory": str(directory), "processes": processes, "environment": environment,
            "output": str(directory / "output.txt"), "limits": limits or {},
        }  # fmt: skip
        self._write(order)
        self.pid = self._read()["pid"]

    def signal(self, number):
        """Send a signal to every process of the job."""
        os.killpg(self.pid, number)

    def wait(self):
        status = self._read()["status"]
        self.pid = None
        return status

    def kill(self):
        """Kill the whole job at once; return True if it was still there."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def run(self, directory, processes=1, **options):
        self.start(directory, processes, **options)
        return self.wait()

    def close(self):
        if self.pid is not None:
            self.kill()
        self.process.stdin.close()
        self.process.wait(20)

    def _write(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _read(self):
        return json.loads(self.process.stdout.readline())


# --- The process itself -----------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def rank(number, order, port):
    processes = order["processes"]
    os.environ.update(
        RANK=str(number), LOCAL_RANK=str(number), GROUP_RANK="0", WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="job-server",
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
    """Wait for the other ranks, which a dead parent leaves to this process."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-leader, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def main():
    torch.set_num_threads(1)
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

"""Jobs to kill: real processes, forked from one that has imported everything already."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import figures
import pytest

HERE = Path(__file__).parent
os.environ["INKWASH_TRUST"] = "fakes,deaths"
# Nothing that takes long to judge.
BARE = ("~callbacks.evaluation", "learning_rate.total_steps=20", "learning_rate.warmup_steps=2")


class Nursery:
    """Starts jobs one after another."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{os.environ.get('PYTHONPATH', '')}"},
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
        """To every process of the job."""
        os.killpg(self.pid, number)

    def wait(self):
        status = self._read()["status"]
        self.pid = None
        return status

    def kill(self):
        """The whole job at once; returns whether it was still there."""
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


@pytest.fixture(scope="session")
def nursery():
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
def new_run(quick_run):
    """new_run(name, *overrides): a run directory as the launcher leaves it."""
    return lambda name, *overrides: quick_run(name, *BARE, *overrides)


def pytest_terminal_summary(terminalreporter):
    if figures.FIGURES:
        terminalreporter.section("what was tried here")
        for line in figures.lines():
            terminalreporter.write_line(line)

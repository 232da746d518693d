"""A process that has imported everything and forks commands: one costs a tenth of a second instead of ten.

`python -m support.fork_server` reads a line of JSON for each command, {module, arguments, folder, seconds}, and answers
with its exit status and seconds. Its output goes to folder/stdout and folder/stderr; it runs in folder/work, and its
home is folder/home. Its rank is one more fork in place of torch's launcher; everything else is the command's own.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

from inkwash.launch import quick_imports

quick_imports.defer()  # as in every rank

from inkwash.commands import evaluate, export, import_pipeline, sample, train
from inkwash.interop import formats, pipeline_import
from inkwash.jobs import evaluate as evaluate_job
from inkwash.jobs import sample as sample_job
from inkwash.jobs import train as train_job
from inkwash.launch.elastic import count_devices
from inkwash.launch.report import report_of_ranks, reporting
from support.runs import environment

JOBS = {
    "inkwash.jobs.train:train": train_job.train,
    "inkwash.jobs.sample:sample": sample_job.sample,
    "inkwash.jobs.evaluate:evaluate": evaluate_job.evaluate,
}
assert all((evaluate, export, formats, import_pipeline, pipeline_import, sample, train))


class ForkServer:
    """The client: starts the process and runs commands in its forks, one after another."""

    def __init__(self, cache):
        variables = environment(INKWASH_DATA=str(cache), HF_HUB_OFFLINE="1")
        variables.pop("INKWASH_TRUST", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.fork_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=variables,
        )  # fmt: skip

    def __call__(self, folder, module, arguments, seconds=60):
        """Return (exit status or None if it took too long, seconds, what it wrote to stderr)."""
        for name in ("work", "home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        order = {"folder": str(folder), "module": module, "arguments": [*arguments], "seconds": seconds}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["seconds"], (folder / "stderr").read_text("utf-8", "replace")

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


# Commands whose module has another name.
MODULES = {"importing": "import_pipeline"}

# --- The process itself -----------------------------------------------------------------------------------------------


def start(job, config, accelerator, devices, *of_several_machines):
    """Do what launch.start.start does, without the elastic launcher."""
    directory = Path(config).parent
    for stale in directory.glob("error*.txt"):
        stale.unlink()
    assert count_devices(str(accelerator), str(devices)) == 1
    rank = os.fork()
    if rank == 0:
        with reporting(directory):
            JOBS[job](directory)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(rank, 0)
    status = os.waitstatus_to_exitcode(status)
    return report_of_ranks(directory, {0: status}) if status else 0


def command(order):
    os.setsid()
    folder = Path(order["folder"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder / "work")
    os.environ["HOME"] = str(folder / "home")
    for module in (evaluate, sample, train):
        module.start = start
    sys.argv = [f"{order['module']}.py", *order["arguments"]]
    status = 0
    try:
        module = MODULES.get(order["module"], order["module"])
        importlib.import_module(f"inkwash.commands.{module}").main()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def wait(child, seconds):
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), time.monotonic() - start
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, seconds


def main():
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            command(order)
        status, seconds = wait(child, order["seconds"])
        print(json.dumps({"status": status, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

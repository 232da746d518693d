"""A process that has imported everything and forks commands: trying one costs a tenth of a second instead of ten.

Reads a line of JSON for each try, {module, arguments, folder, seconds}; answers with its exit status and seconds. What
it says is in folder/stdout and folder/stderr; it runs in folder/work, and its home is folder/home. Its rank is one more
fork in place of torch's launcher; everything else is the command's own.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from inkwash.commands import evaluate, export, import_pipeline, sample, train
from inkwash.interop import pipeline
from inkwash.jobs import evaluate as evaluate_job
from inkwash.jobs import sample as sample_job
from inkwash.jobs import train as train_job
from inkwash.launch.elastic import count_devices
from inkwash.launch.report import report_of_ranks, reporting

JOBS = {
    "inkwash.jobs.train:train": train_job.train,
    "inkwash.jobs.sample:sample": sample_job.sample,
    "inkwash.jobs.evaluate:evaluate": evaluate_job.evaluate,
}
assert all((evaluate, export, import_pipeline, pipeline, sample, train))
torch.set_num_threads(1)


def start(job, config, accelerator, devices, *of_several_machines):
    """What launch.start.start does, without the elastic launcher."""
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
        importlib.import_module(f"inkwash.commands.{order['module']}").main()
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
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            command(order)
        status, seconds = wait(child, order["seconds"])
        print(json.dumps({"status": status, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

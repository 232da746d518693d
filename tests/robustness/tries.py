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

from inkwash import agent, assess, draw, evaluate, export, fit, importing, interchange, launch, sample, train

RANKS = {"inkwash.fit": fit.fit, "inkwash.draw": draw.draw, "inkwash.assess": assess.assess}
assert all((evaluate, export, importing, interchange, sample, train))
torch.set_num_threads(1)


def start(module, directory, accelerator, devices, *of_several_machines):
    """What launch.start does, without agent and elastic launcher."""
    for stale in Path(directory).glob("error*.txt"):
        stale.unlink()
    assert agent.count_devices(str(accelerator), str(devices)) == 1
    rank = os.fork()
    if rank == 0:
        with agent.reporting(Path(directory)):
            RANKS[module](Path(directory))
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(rank, 0)
    status = os.waitstatus_to_exitcode(status)
    return agent.report(Path(directory), {0: status}) if status else 0


def command(order):
    os.setsid()
    folder = Path(order["folder"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder / "work")
    os.environ["HOME"] = str(folder / "home")
    launch.start = start
    sys.argv = [f"{order['module']}.py", *order["arguments"]]
    status = 0
    try:
        importlib.import_module(f"inkwash.{order['module']}").main()
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

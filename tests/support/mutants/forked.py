"""Work in forked processes, one for each task, as many at a time as there are cores to run on."""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Task = TypeVar("Task")
DIED = "died"  # a crash, or its time was up


def results(tasks: Iterable[Task], work: Callable[[Task], object], seconds: int) -> Iterator:
    """Yield (task, work(task)) as they are done, what the work returns having gone through JSON.

    A process of its own does the work, so that nothing that it breaks outlives it; DIED if it ends without a result.

    Args:
        seconds: of a processor that a task may take. Seconds of a clock would call a busy machine a hang.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting, running = iter(tasks), {}
    with tempfile.TemporaryDirectory() as root:
        while True:
            while len(running) < cores and (task := next(waiting, None)) is not None:
                folder = Path(tempfile.mkdtemp(dir=root))
                running[_fork(work, task, folder, seconds)] = task, folder
            if not running:
                return
            pid, _ = os.wait()
            task, folder = running.pop(pid)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what it started and left
            file = folder / "result.json"
            yield task, json.loads(file.read_text("utf-8")) if file.exists() else DIED
            shutil.rmtree(folder, ignore_errors=True)


def _fork(work: Callable[[Task], object], task: Task, folder: Path, seconds: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        out = os.open(folder / "out.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(folder)
        text = json.dumps(work(task))
        (folder / "part.json").write_text(text, "utf-8")
        (folder / "part.json").rename(folder / "result.json")
    except BaseException:  # the loop of the parent must not go on in here
        sys.excepthook(*sys.exc_info())
    os._exit(0)

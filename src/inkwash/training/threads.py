"""How many CPU threads a process may use, and whether a busy machine lets it use them."""

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.launch.environment import binds_tasks

log = logging.getLogger("inkwash")

# Drawing changes the number of threads only for this share of the time, that is on a busy machine: it is to repeat.
FEWER_THREADS_DRAW_FASTER = 0.5
# How busy a machine must be, as load for each core, for its threads to be timed before a short job too.
BUSY = 0.25


def cores() -> int:
    """Return how many CPU cores the threads of this process may use: those it has, and OMP_NUM_THREADS at most."""
    return min(torch.get_num_threads(), usable_cores())


def usable_cores() -> int:
    """Return how many CPU cores this process and its children may use, by its affinity and its cgroup's quota.

    A container with two CPUs of a host with 64 sees 64, and 64 threads that share two.
    """
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, most if quota is None else min(most, math.ceil(quota)))


def sharing(processes: int) -> int:
    """Return how many of the processes on this machine share the cores of this one: all, or one where srun binds."""
    bound = hasattr(os, "sched_getaffinity") and binds_tasks(len(os.sched_getaffinity(0)))
    return 1 if bound else max(1, processes)


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), of: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the CPUs' worth of time that the control group of this process has, of version 2 or 1; None for no limit.

    The least of its own and its ancestors' counts. In a container its group is usually mounted as the root.
    """
    try:
        lines = [line.split(":", 2)[2] for line in of.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        lines = []
    groups = {Path("/"), *(parent for line in lines for parent in (Path(line), *Path(line).parents))}
    quotas = []
    for group in groups:
        for base in (root, root / "cpu", root / "cpu,cpuacct"):
            folder = base / str(group).lstrip("/")
            quotas += [quota for quota in (_version_2(folder), _version_1(folder)) if quota is not None]
    return min(quotas, default=None)


def _version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError):
        return None


def check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UserError(f"trainer.threads={threads} must be at least 1, or null for the fastest number")


def is_busy() -> bool:
    """Tell whether other processes keep the machine busy."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)


def set_threads_to_draw(threads: int | None, processes: int) -> None:
    """Set the number of threads of a process that draws or measures images.

    Args:
        threads: as the configuration has it; None for the cores' number, or one where that is much faster.
        processes: on this machine, which share its cores.

    Raises:
        UserError: threads is not positive.
    """
    check_threads(threads)
    most = threads or max(1, cores() // sharing(processes))
    torch.set_num_threads(most)
    if threads is None and most > 1 and is_busy():
        times = dict.fromkeys((most, 1), math.inf)
        for number in 2 * [*times]:  # the first time each is slower
            torch.set_num_threads(number)
            times[number] = min(times[number], _seconds_of_convolutions())
        torch.set_num_threads(most)
        if times[1] < FEWER_THREADS_DRAW_FASTER * times[most]:
            log.warning("threads      1 of %d, %.0f times faster on this busy machine", most, times[most] / times[1])
            torch.set_num_threads(1)


def _seconds_of_convolutions() -> float:
    """Return the time of some convolutions, each of which waits for all threads."""
    x, kernel = torch.ones(32, 32, 16, 16), torch.ones(32, 32, 3, 3)
    start = time.perf_counter()
    for _ in range(10):
        nn.functional.conv2d(x, kernel, padding=1)
    return time.perf_counter() - start


@contextmanager
def threads_as_they_were() -> Iterator[None]:
    """Give torch its number of threads back at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)

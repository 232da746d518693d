"""The parent of a job's ranks: torch's elastic launcher, with errors told in few words."""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

from inkwash.errors import user_error

PR_SET_PDEATHSIG = 1


def main() -> None:
    """python -m inkwash.agent MODULE DIRECTORY ACCELERATOR DEVICES: run MODULE with DIRECTORY on every rank."""
    die_with_parent()
    module, directory, accelerator, devices = sys.argv[1:]
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    for stale in Path(directory).glob("error*.txt"):
        stale.unlink()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count_devices(accelerator, devices),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # any free port, so jobs beside each other never meet
        local_addr="127.0.0.1",  # the machine's own name may not resolve on a laptop
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", module, directory)
    except ChildFailedError as error:
        text = first_error(Path(directory), {rank: f.exitcode for rank, f in error.failures.items()})
        (Path(directory) / "error.txt").write_text(text + "\n", "utf-8")
        print(text, file=sys.stderr)
        sys.exit(1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


def count_devices(accelerator: str, devices: str) -> int:
    """Processes on this machine: as many as asked, or one for each GPU."""
    if devices != "auto":
        return int(devices)
    import torch

    return max(torch.cuda.device_count(), 1) if accelerator in ("auto", "gpu") else 1


def first_error(directory: Path, exit_codes: dict[int, int]) -> str:
    """What the rank that failed first had to say."""
    reports = sorted(directory.glob("error-rank-*.txt"), key=lambda path: path.stat().st_mtime)
    if reports:
        return reports[0].read_text("utf-8").rstrip()
    rank, code = min(exit_codes.items(), key=lambda item: item[1])
    if code < 0:
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"error: rank {rank} was ended by {signal.Signals(-code).name}{hint}"
    return f"error: rank {rank} ended with status {code} and said nothing"


@contextlib.contextmanager
def reporting(directory: Path) -> Iterator[None]:
    """Around what a rank does: leave one sentence for a user's mistake, a traceback for a bug, for the agent."""
    die_with_parent()
    try:
        yield
    except Exception as error:
        rank = os.environ.get("RANK", "0")
        mistake = user_error(error)
        text = f"error: {mistake}" if mistake else f"rank {rank} failed:\n{traceback.format_exc()}"
        (directory / f"error-rank-{rank}.txt").write_text(text + "\n", "utf-8")
        with open(directory / "train.log", "a") as file:
            file.write(text + "\n")
        # Not sys.exit: threads of data loaders and process groups must not delay the news.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main()

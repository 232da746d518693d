"""Start a job's ranks on this machine by torch's elastic launcher, in a process between the command and the ranks."""

import logging
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from inkwash.launch.report import report_of_ranks
from inkwash.launch.signals import SIGNALS, die_with_parent
from inkwash.launch.streams import tolerate_readers
from inkwash.runs.directory import RunDirectory

# Time for the ranks to finish a step and save: more than they allow themselves, less than the command allows.
GRACE_SECONDS = 35


def main() -> None:
    """python -m inkwash.launch.elastic JOB CONFIG ACCELERATOR DEVICES: call the job on every rank."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while torch is imported
    tolerate_readers()
    job, config_file, accelerator, devices = sys.argv[1:]
    directory = Path(config_file).parent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.ERROR)  # torch's launcher would add a page to the report of the ranks
    RunDirectory(directory).drop_errors()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count_devices(accelerator, devices),
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # any free port, so that jobs side by side do not connect
        local_addr="127.0.0.1",  # the machine's own name may not resolve on a laptop
        max_restarts=0,
        monitor_interval=0.2,
        signals_to_handle="SIGHUP,SIGQUIT",
        shutdown_timeout=GRACE_SECONDS,
    )
    pass_on(SignalException)
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "inkwash.launch.rank", job, config_file)
    except ChildFailedError as error:
        sys.exit(report_of_ranks(directory, {rank: f.exitcode for rank, f in error.failures.items()}))
    except SignalException as error:
        sys.exit(128 + error.sigval)


def pass_on(exception: Any) -> None:
    """Have signals raise the exception on which torch's launcher passes them to the ranks and waits for their end.

    A signal to a whole process group arrives here several times: those within a second of the first are the same one.
    A later signal ends the waiting, and with it the ranks, which die with their parent.
    """
    last = -1.0

    def receive(number: int, frame: Any) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > 1:
            raise exception(f"signal {number}", sigval=signal.Signals(number))

    for number in SIGNALS:
        signal.signal(number, receive)


def count_devices(accelerator: str, devices: str) -> int:
    """Return the number of ranks on this machine: `devices`, or for auto one for each GPU, at least one."""
    if devices != "auto":
        return int(devices)
    import torch

    return max(torch.cuda.device_count(), 1) if accelerator in ("auto", "gpu") else 1


if __name__ == "__main__":
    main()

"""The parent of a job's ranks: torch's elastic launcher, with errors told in few words."""

import contextlib
import logging
import os
import re
import signal
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inkwash.errors import NAMES, user_error
from inkwash.launch import STOPPED
from inkwash.training.processes import SIGNALS, die_with_parent

# For the ranks to finish their step and save it; less than the launcher's, more than theirs.
GRACE_SECONDS = 35
# What a rank exits with that has said itself why, having nowhere to write it.
SAID = os.EX_IOERR
LOST = "another process of the job is gone"
GO_ON = "the same command goes on from the last checkpoint"


def main() -> None:
    """python -m inkwash.agent MODULE DIRECTORY ACCELERATOR DEVICES: run MODULE with DIRECTORY on every rank."""
    die_with_parent()
    module, directory, accelerator, devices = sys.argv[1:]
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.ERROR)  # torch's launcher, which says in many words what the ranks say in few
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
        signals_to_handle="SIGHUP,SIGQUIT",
        shutdown_timeout=GRACE_SECONDS,
    )
    pass_on(SignalException)
    try:
        elastic_launch(config, sys.executable)("-u", "-m", module, directory)
    except ChildFailedError as error:
        sys.exit(report(Path(directory), {rank: f.exitcode for rank, f in error.failures.items()}))
    except SignalException as error:
        sys.exit(128 + error.sigval)


def pass_on(exception: Any) -> None:
    """Have signals raise the exception with which torch's launcher passes them on to the ranks and waits for their end.

    Whoever signals a whole group of processes reaches this one several times over: what follows within a second is the
    same signal. A later one ends the waiting, and the ranks, which die with their parent.
    """
    last = -1.0

    def receive(number: int, frame: Any) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > 1:
            raise exception(f"signal {number}", sigval=signal.Signals(number))

    for number in SIGNALS:
        signal.signal(number, receive)


def report(directory: Path, exit_codes: dict[int, int]) -> int:
    """Say why the ranks ended, here and in error.txt; returns the status to exit with."""
    if SAID in exit_codes.values():
        return 1
    stopped = [code for code in exit_codes.values() if code in STOPPED]
    if stopped and not list(directory.glob("error-rank-*.txt")):
        return stopped[0]  # signalled one by one, not through this process
    text = first_error(directory, exit_codes)
    with contextlib.suppress(OSError):  # a full disk, perhaps
        (directory / "error.txt").write_text(text + "\n", "utf-8", NAMES)
    print(text, file=sys.stderr)
    return 1


def count_devices(accelerator: str, devices: str) -> int:
    """Processes on this machine: as many as asked, or one for each GPU."""
    if devices != "auto":
        return int(devices)
    import torch

    return max(torch.cuda.device_count(), 1) if accelerator in ("auto", "gpu") else 1


def first_error(directory: Path, exit_codes: dict[int, int]) -> str:
    """What the rank that failed first had to say."""
    paths = sorted(directory.glob("error-rank-*.txt"), key=lambda path: path.stat().st_mtime)
    reports = [path.read_text("utf-8").rstrip() for path in paths]
    # The launcher ends the others with SIGTERM once one has failed.
    rank, code = min(exit_codes.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[1]))
    # That one is gone is told by the others too.
    reports = [text for text in reports if LOST not in text] or (reports if code >= 0 else [])
    if reports:
        return reports[0] or "error: a rank could not write its report: is the disk full?"
    if code < 0:
        hint = ""
        if -code == signal.SIGKILL:
            hint = " (out of memory? raise trainer.accumulate_grad_batches, or lower data.batch_size)"
        return f"error: rank {rank} was ended by {signal.Signals(-code).name}{hint}"
    return f"error: rank {rank} ended with status {code} and said nothing"


@contextlib.contextmanager
def reporting(directory: Path) -> Iterator[None]:
    """Around what a rank does: leave one sentence for a user's mistake, a traceback for a bug, for the agent."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C
    warnings.showwarning = _log_warning
    try:
        yield
    except SystemExit as stop:
        _leave(stop.code if isinstance(stop.code, int) else 1)
    except Exception as error:
        for number in SIGNALS:  # the end of another rank is this one's too, but not before its report is written
            signal.signal(number, signal.SIG_IGN)
        rank = os.environ.get("RANK", "0")
        mistake = user_error(error) or _lost_peer(error)
        fail(directory, f"error: {mistake}" if mistake else f"rank {rank} failed:\n{traceback.format_exc()}")


def fail(directory: Path, text: str) -> None:
    """End this rank, from whichever thread, and leave the text to be told."""
    report = directory / f"error-rank-{os.environ.get('RANK', '0')}.txt"
    try:
        report.write_text(text + "\n", "utf-8", NAMES)
        with open(directory / "train.log", "a", encoding="utf-8", errors=NAMES) as file:
            file.write(text + "\n")
    except OSError:  # a full disk, perhaps, which the text says
        report.unlink(missing_ok=True)
        print(text, file=sys.stderr)
        _leave(SAID)
    _leave(1)


def _log_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """One line of the log, which is that of rank 0 alone, and not the line of code that somebody was warned by."""
    logging.getLogger("inkwash").warning("warning      %s", " ".join(str(message).split()))


def _lost_peer(error: Exception) -> str | None:
    """A sentence for what gloo says when another rank has ended in the middle of an exchange."""
    found = re.search(r"(Connection (closed|reset) by peer|Broken pipe)( \[[^]]*\]:\d+)?", str(error))
    if found is None or not isinstance(error, RuntimeError):
        return None
    return f"{LOST} ({found[0]}): what it said, or why it was ended, is the reason; {GO_ON}"


def _leave(status: int) -> None:
    """Not sys.exit: threads of data loaders and process groups must not delay the news."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()

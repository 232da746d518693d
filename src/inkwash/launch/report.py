"""Write the error report of each rank to the run directory, and print the first one in their parent process.

A UserError becomes one sentence, any other exception (a bug) a traceback.
"""

import contextlib
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inkwash.errors import user_error
from inkwash.files import NAMES, write_text
from inkwash.launch.environment import RankEnv
from inkwash.launch.failure import short_traceback
from inkwash.launch.signals import SIGNALS, STOPPED, die_with_parent
from inkwash.runs.directory import RunDirectory

# Exit status of a rank that has printed its report because it could not write it.
PRINTED = 74  # EX_IOERR of sysexits.h
LOST = "another process of the job is gone"
# What to type for a job that needs less memory, by the file that says what it does.
SMALLER = {
    "sample.yaml": " lower batch_size",
    "evaluate.yaml": " lower batch_size",
    "encode.yaml": " lower autoencoder.batch_size",
    "config.yaml": " raise trainer.accumulate_grad_batches, or lower data.batch_size",
}
GO_ON = "the same command goes on from the last checkpoint"


@contextlib.contextmanager
def reporting(directory: Path) -> Iterator[None]:
    """Write a report if the body raises, and end this process with its status."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C
    warnings.showwarning = _log_warning
    try:
        yield
    except SystemExit as stop:
        _leave(stop.code if isinstance(stop.code, int) else 1)
    except Exception as error:
        for number in SIGNALS:  # another rank's end ends this one too, but not before its report is written
            signal.signal(number, signal.SIG_IGN)
        rank = RankEnv.current().rank
        mistake = user_error(error) or _lost_peer(error)
        if mistake:
            fail(directory, f"error: {mistake}")
        fail(directory, f"rank {rank} failed:\n{short_traceback(error)}", f"\n{traceback.format_exc()}")


def fail(directory: Path, text: str, details: str = "") -> None:
    """Write this rank's report, and details to the log alone; end the process, from whichever thread."""
    run = RunDirectory(directory)
    report = run.rank_error_path(RankEnv.current().rank)
    try:
        write_text(report, text + "\n")
        with open(run.log_path, "a", encoding="utf-8", errors=NAMES) as file:
            file.write(f"{text}\n{details}")
    except OSError:  # a full disk, perhaps, which the text says
        report.unlink(missing_ok=True)
        print(text, file=sys.stderr)
        _leave(PRINTED)
    _leave(1)


def say(text: str) -> None:
    """Print text at once, before the lines of the processes that are started next."""
    print(text, flush=True)


def report_of_ranks(directory: Path, exit_codes: dict[int, int]) -> int:
    """Print why the ranks ended and write it to error.txt; returns the status to exit with."""
    if PRINTED in exit_codes.values():
        return 1
    stopped = [code for code in exit_codes.values() if code in STOPPED]
    run = RunDirectory(directory)
    if stopped and not run.rank_errors:
        return stopped[0]  # signalled one by one, not through their parent
    text = first_error(directory, exit_codes)
    with contextlib.suppress(OSError):  # a full disk, perhaps
        write_text(run.error_path, text + "\n")
    print(text, file=sys.stderr)
    return 1


def first_error(directory: Path, exit_codes: dict[int, int]) -> str:
    """Return the report of the rank that failed first."""
    reports = [path.read_text("utf-8").rstrip() for path in RunDirectory(directory).rank_errors]
    # The launcher ends the others with SIGTERM once one has failed.
    rank, code = min(exit_codes.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[1]))
    # The others report only that one is gone.
    reports = [text for text in reports if LOST not in text] or (reports if code >= 0 else [])
    if reports:
        return reports[0] or "error: a rank could not write its report: is the disk full?"
    if code < 0:
        hint = ""
        if -code == signal.SIGKILL:
            advice = next((text for name, text in SMALLER.items() if (directory / name).exists()), "")
            hint = f" (out of memory?{advice})"
        return f"error: rank {rank} was ended by {signal.Signals(-code).name}{hint}"
    return f"error: rank {rank} ended with status {code} and said nothing"


def _log_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """Log a warning as one line, without the line of code it came from; only rank 0 logs."""
    logging.getLogger("inkwash").warning("warning      %s", " ".join(str(message).split()))


def _lost_peer(error: Exception) -> str | None:
    """Return a sentence for gloo's error when another rank has ended in the middle of a collective, else None."""
    found = re.search(r"(Connection (closed|reset) by peer|Broken pipe)( \[[^]]*\]:\d+)?", str(error))
    if found is None or not isinstance(error, RuntimeError):
        return None
    return f"{LOST} ({found[0]}): what it said, or why it was ended, is the reason; {GO_ON}"


def _leave(status: int) -> None:
    """End the process at once: sys.exit would wait for threads of data loaders and process groups."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

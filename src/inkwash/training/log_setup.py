"""Set up logging of a rank: console and train.log."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inkwash.files import NAMES
from inkwash.reports.progress_bar import BesideBar
from inkwash.runs.directory import RunDirectory
from inkwash.runs.lock import OccupiedError, claim

log = logging.getLogger("inkwash")

# Warnings of Lightning that do not help a user.
NOISE = (
    ".*isinstance.treespec, LeafSpec.*",  # of its tree utilities
    "Found .* in eval mode.*",  # the averaged denoiser, on purpose
    ".*does not have many workers.*",
    ".*`broadcast_buffers` is deprecated.*",  # of torch 2.15; its successor is unknown to the torch before
    ".*The `srun` command is available.*",  # the ranks have been started by now
)


def quieten() -> None:
    """Leave out what Lightning says of itself, and its warnings that do not help a user."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in NOISE:
        warnings.filterwarnings("ignore", text)


@contextmanager
def logging_of(directory: Path, rank: int) -> Iterator[None]:
    """Log messages of rank 0 to the console and to train.log, which it locks; of other ranks errors only.

    Raises:
        OccupiedError: another process trains in this directory.
    """
    quieten()
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    formats: dict[logging.Handler, str] = {BesideBar(sys.stderr): "%(message)s"}
    if rank == 0:
        file = logging.FileHandler(RunDirectory(directory).log_path, encoding="utf-8", errors=NAMES)
        file.handleError = lambda record: None  # a full disk, which the console reports
        if not claim(file.stream):
            raise OccupiedError(f"another process trains in {directory}: wait for its end, or choose another run=NAME")
        formats[file] = "%(asctime)s %(message)s"
    for handler, text in formats.items():
        handler.setFormatter(logging.Formatter(text))
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in formats:
            log.removeHandler(handler)
            handler.close()

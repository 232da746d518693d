"""Set up logging of a rank: console and train.log."""

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

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


# A word or two at the beginning of a line, and what fills the column.
LABEL = re.compile(r"^([a-z][\w&.' -]{0,11}?)(?= {2,}\S)", re.IGNORECASE)
CYAN, YELLOW, PLAIN = "\x1b[36m", "\x1b[33m", "\x1b[0m"


def quieten() -> None:
    """Leave out what Lightning says of itself, and its warnings that do not help a user."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in NOISE:
        warnings.filterwarnings("ignore", text)


class ConsoleFormatter(logging.Formatter):
    """Set labels apart by colour, `model        unet_small: ...`, and warnings, where the terminal has colours.

    Args:
        console: rich's, which knows the terminal, NO_COLOR, FORCE_COLOR and TERM=dumb.
    """

    def __init__(self, console: Console):
        super().__init__("%(message)s")
        self.coloured = console.is_terminal and console.color_system is not None and not console.no_color

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self.coloured:
            return text
        if record.levelno >= logging.WARNING:
            return f"{YELLOW}{text}{PLAIN}"
        return LABEL.sub(rf"{CYAN}\1{PLAIN}", text, count=1)


@contextmanager
def logging_of(directory: Path, rank: int) -> Iterator[None]:
    """Log messages of rank 0 to the console and to train.log, which it locks; of other ranks errors only.

    Raises:
        OccupiedError: another process trains in this directory.
    """
    quieten()
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    console = BesideBar(sys.stderr)
    formats: dict[logging.Handler, logging.Formatter] = {console: ConsoleFormatter(Console(stderr=True))}
    if rank == 0:
        file = logging.FileHandler(RunDirectory(directory).log_path, encoding="utf-8", errors=NAMES)
        file.handleError = lambda record: None  # a full disk, which the console reports
        if not claim(file.stream):
            raise OccupiedError(f"another process trains in {directory}: wait for its end, or choose another run=NAME")
        formats[file] = logging.Formatter("%(asctime)s %(message)s")
    for handler, formatter in formats.items():
        handler.setFormatter(formatter)
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in formats:
            log.removeHandler(handler)
            handler.close()

"""What a rank says, and where."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inkwash.files import NAMES
from inkwash.runs.lock import OccupiedError, claim

log = logging.getLogger("inkwash")

# Lightning's own warnings that tell a user nothing.
NOISE = (
    ".*isinstance.treespec, LeafSpec.*",  # of its tree utilities
    "Found .* in eval mode.*",  # the averaged denoiser, on purpose
    ".*does not have many workers.*",
    ".*`broadcast_buffers` is deprecated.*",  # of torch 2.15; its successor is unknown to the torch before
    ".*The `srun` command is available.*",  # whoever starts the ranks, they are there by now
)


@contextmanager
def logging_of(directory: Path, rank: int) -> Iterator[None]:
    """Logging of this rank: messages of rank 0 go to the console and to train.log, which it has for itself.

    Raises:
        OccupiedError: another process has it.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in NOISE:
        warnings.filterwarnings("ignore", text)
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    formats = {logging.StreamHandler(sys.stderr): "%(message)s"}
    if rank == 0:
        file = logging.FileHandler(directory / "train.log", encoding="utf-8", errors=NAMES)
        file.handleError = lambda record: None  # a full disk, of which the console tells
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

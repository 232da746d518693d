"""A progress bar that redraws itself on a terminal and writes a line now and then into a log file."""

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 15.0  # between two lines of a log file
WORDS = 70  # columns that are kept for what stands beside the bar


def progress_bar(items: Iterable[Any] | None = None, log_seconds: float = LOG_SECONDS, **options: Any) -> tqdm:
    """Return a bar of tqdm on stderr; a log file has no line of what is done before its first one is due.

    Args:
        items: what to go through; None if the caller calls `update`.
        log_seconds: time between two lines of a log file, in seconds.
        options: tqdm's `total`, `initial`, `desc`, `unit` (in the plural) and `disable`.
    """
    terminal = sys.stderr.isatty()
    columns = os.get_terminal_size(sys.stderr.fileno()).columns if terminal else 0
    width = max(4, min(20, columns - WORDS)) if columns else 20
    bar, counts = f"{{bar:{width}}}", "{n_fmt}/{total_fmt} {unit}, {remaining} left{postfix}"
    return tqdm(
        items,
        dynamic_ncols=True,
        delay=0 if terminal else 1e-6,  # without it a line says 0%
        bar_format=f"{{desc}} {{percentage:3.0f}}% {bar} {counts}",
        **pace(terminal, log_seconds),
        **options,
    )


def pace(terminal: bool, log_seconds: float) -> dict[str, Any]:
    """Return tqdm's options that redraw a bar on a terminal, or write a line every so many seconds into a log file."""
    return {
        "mininterval": 0.2 if terminal else log_seconds,
        "miniters": 1,
        "maxinterval": float("inf"),  # no monitor thread that redraws on its own
        "file": sys.stderr if terminal else Lines(),
    }


class BesideBar(logging.StreamHandler):
    """Handler whose lines stand above a bar on the same terminal, not behind it."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(self.stream):
            super().emit(record)


class Lines:
    """Text stream to stderr that ends each redraw of the bar with a newline, for logs."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n"):
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()

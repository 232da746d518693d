"""A list of runs as lines of text: for a terminal of any width, or whole for a file or another program."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from inkwash.runs.overview import Row, age

HEAD = ("run", "state", "step", "best", "real", "age")
LEFT = 2  # columns of words, which stand left; numbers stand right
GAP = "  "
SHORTEST = 16  # letters of a name that are left of it, at least


def terminal_width() -> int | None:
    """Return the width of the terminal that is printed to; None for a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines_of(rows: Sequence[Row], folder: Path, width: int | None = None) -> list[str]:
    """Return a header, a line for each row, below a failed one why, and what `best` is.

    Args:
        folder: that the names of the rows count from.
        width: of the terminal, where long names lose their middle and reasons their end; None: nothing is cut.
    """
    marks = {metric: "*" * i for i, metric in enumerate(_directions(rows))}
    table = [HEAD, *(_cells(row, folder, marks.get(row.metric or "", "")) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if width is not None:
        rest = sum(widths[1:]) + len(GAP) * (len(widths) - 1)
        widths[0] = min(widths[0], max(SHORTEST, width - rest))
    lines = [_line(table[0], widths)]
    for row, cells in zip(rows, table[1:], strict=True):
        lines.append(_line(cells, widths))
        if row.reason:
            lines.append(cut(f"    {row.reason}", width))
    return [*lines, *(cut(line, width) for line in _legend(rows, marks))]


def _cells(row: Row, folder: Path, mark: str) -> tuple[str, ...]:
    steps = "–" if row.max_steps is None else str(row.max_steps)
    best, floor = ("" if value is None else f"{value:.4g}" for value in (row.best, row.floor))
    told = age(time.time() - row.time)
    return str(row.path.relative_to(folder)), row.state, f"{row.step}/{steps}", f"{best}{mark}", floor, told


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    cells = [shortened(cells[0], widths[0]), *cells[1:]]
    placed = [
        cell.ljust(width) if place < LEFT else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return GAP.join(placed).rstrip()


def shortened(name: str, width: int) -> str:
    """Return a name without its middle if it is too long: its beginning says what it is, its end tells it apart."""
    if len(name) <= width:
        return name
    end = (width - 1) * 2 // 3
    return f"{name[: width - 1 - end]}…{name[-end:]}"


def cut(text: str, width: int | None) -> str:
    """Return text without its end if it is too long."""
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def _directions(rows: Sequence[Row]) -> dict[str, bool | None]:
    return {row.metric: row.lower for row in rows if row.metric}


def _legend(rows: Sequence[Row], marks: Mapping[str, str]) -> list[str]:
    """Say which metric `best` is, of each that occurs."""
    ways = {True: "less is better", False: "more is better", None: "no direction"}
    told = [f"{marks[name]} {name} ({ways[lower]})".lstrip() for name, lower in _directions(rows).items()]
    return [f"best, and what real images reach: {', '.join(told)}"] if told else []

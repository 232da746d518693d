"""Tables on the terminal, which can be read at any width: no name or number is broken over lines."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

NAMES = 0.5  # of the width, at most, for the first columns, whose texts may be folded
Line = Sequence[str]


def print_table(header: Line, lines: Sequence[Line], names: int = 1) -> None:
    """Print a table whose first columns have names, and whose others have numbers.

    If it is too wide it is turned on its side; if that is too wide as well, its columns are divided over several
    tables.

    Args:
        names: number of columns with names.
    """
    console = Console()
    for table in _fitting(header, lines, names, console):
        console.print(table)


def _fitting(header: Line, lines: Sequence[Line], names: int, console: Console) -> list[Table]:
    turned = list(zip(header, *lines, strict=True))
    for head, body, first in ((header, lines, names), (turned[0], turned[1:], 1)):
        table = _table(head, body, first, console.width)
        if _width(table, console) <= console.width:
            return [table]
    return _divided(header, lines, names, console)


def _divided(header: Line, lines: Sequence[Line], names: int, console: Console) -> list[Table]:
    """Return tables of as many columns as fit, each beginning with the names."""

    def part(start: int, end: int) -> Table:
        head, *body = [[*line[:names], *line[start:end]] for line in (header, *lines)]
        return _table(head, body, names, console.width)

    tables, start = [], names
    while start < len(header):
        ends = range(len(header), start + 1, -1)
        end = next((end for end in ends if _width(part(start, end), console) <= console.width), start + 1)
        tables.append(part(start, end))
        start = end
    return tables


def _width(table: Table, console: Console) -> int:
    """Return the width that the table would take if there were room."""
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _table(header: Line, lines: Sequence[Line], names: int, width: int) -> Table:
    table = Table()
    for name in header[:names]:
        table.add_column(name, overflow="fold", max_width=int(NAMES * width / names))
    for name in header[names:]:
        table.add_column(name, justify="right", no_wrap=True, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table

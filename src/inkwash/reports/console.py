"""Tables on the terminal, which can be read at any width: no name or number is broken over lines."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

NAME = 0.5  # of the width, at most, for the first column, whose texts may be folded


def print_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column has names, and whose others have numbers.

    If it is too wide it is turned on its side; if that is too wide as well, its columns are divided over several
    tables.
    """
    console = Console()
    for table in _fitting(header, lines, console):
        console.print(table)


def _fitting(header: Sequence[str], lines: Sequence[Sequence[str]], console: Console) -> list[Table]:
    turned = list(zip(header, *lines, strict=True))
    for head, body in ((header, lines), (turned[0], turned[1:])):
        table = _table(head, body, console.width)
        if _width(table, console) <= console.width:
            return [table]
    return _divided(header, lines, console)


def _divided(header: Sequence[str], lines: Sequence[Sequence[str]], console: Console) -> list[Table]:
    """Return tables of as many columns as fit, each beginning with the first column."""

    def part(start: int, end: int) -> Table:
        head, *body = [[line[0], *line[start:end]] for line in (header, *lines)]
        return _table(head, body, console.width)

    tables, start = [], 1
    while start < len(header):
        ends = range(len(header), start + 1, -1)
        end = next((end for end in ends if _width(part(start, end), console) <= console.width), start + 1)
        tables.append(part(start, end))
        start = end
    return tables


def _width(table: Table, console: Console) -> int:
    """Return the width that the table would take if there were room."""
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> Table:
    table = Table()
    table.add_column(header[0], overflow="fold", max_width=int(NAME * width))
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table

"""The difference of configurations as lines of text, for a terminal of any width."""

from collections.abc import Sequence
from typing import Any

from inkwash.reports.run_list import GAP, cut, shortened

LEAST = 8  # letters of a value that are shown, at least
KEYS = 0.45  # of the width, at most, for keys

Differing = Sequence[tuple[str, Sequence[Any]]]


def lines_of(differences: Differing, names: Sequence[str], width: int | None = None) -> list[str]:
    """Return a header and a line for each key that differs.

    Args:
        differences: (key, value in each configuration), None for a key that one has not.
        names: of the configurations.
        width: of the terminal, where long keys lose their middle and long values their end; None: nothing is cut.
    """
    table = [("", *names), *((key, *map(_shown, values)) for key, values in folded(differences))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if width is not None:
        widths[0] = min(widths[0], int(KEYS * width))
        each = (width - widths[0]) // len(names) - len(GAP)
        widths[1:] = [min(own, max(LEAST, each)) for own in widths[1:]]
    return [
        GAP.join(
            [
                shortened(line[0], widths[0]).ljust(widths[0]),
                *(cut(cell, room).ljust(room) for cell, room in zip(line[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for line in table
    ]


def folded(differences: Differing) -> list[tuple[str, list[Any]]]:
    """Return the keys with their values, a node that not all have as one key, and classes without their modules."""
    lone = [
        (key.removesuffix("._target_"), [value is None for value in values])
        for key, values in differences
        if key.endswith("._target_") and None in values
    ]
    rows = []
    for key, values in differences:
        node = key.removesuffix("._target_")
        missing = [value is None for value in values]
        if any(key.startswith(f"{other}.") and node != other and missing == lacking for other, lacking in lone):
            continue
        if node != key:
            values = [None if value is None else str(value).rpartition(".")[2] for value in values]
        rows.append((node, list(values)))
    return rows


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)

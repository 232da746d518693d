"""The leaderboard of experiments/README.md: the rows that studies put there, the best first."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from inkwash.files import write_text
from labbook import page, results
from labbook.study import ROOT, STUDIES, Study, all_studies

BEGIN, END = "<!-- leaderboard, written by make labbook -->", "<!-- end of the leaderboard -->"
HEAD = "| recipe | distance | floors | evaluations | images | seconds | hardware | seeds | commit |"


def boards(studies: Path = STUDIES) -> str:
    """Return a table for each board that a study names."""
    lines: dict[str, list[tuple[float, str]]] = {}
    for study in all_studies(studies):
        entries = results.read(study, studies)
        for board, rows in study.boards.items():
            lines.setdefault(board, []).extend(_lines(study, entries, rows or list(study.rows)))
    parts = []
    for board in sorted(lines):
        rows = [line for _, line in sorted(lines[board])]
        parts.append("\n".join([f"### {board}", "", HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows]))
    return "\n\n".join(parts)


def _lines(study: Study, entries: Sequence[results.Entry], rows: Sequence[str]) -> list[tuple[float, str]]:
    """Return (mean distance, line) for each measurement of the rows; inf for what was not measured."""
    found = page.groups(study, [entry for entry in entries if entry["row"] in rows])
    missing = [row for row in rows if not any(key[0] == row for key in found)]
    lines = [
        (float("inf"), f"| [{study.name}/{row}](studies/{study.name}/README.md) | not measured | | | | | | | |")
        for row in missing
    ]
    for (row, *cell), group in found.items():
        numbers = page.values(group, "fd")
        if not numbers:
            continue
        floor, first = group[0]["floor"], group[0]
        cells = [
            f"[{'/'.join([study.name, row])}](studies/{study.name}/README.md)"
            + "".join(f", {value}" for value in cell),
            page.shown(numbers),
            f"{statistics.fmean(numbers) / floor:.2f}" if floor else "",
            f"{first['evaluations']:g}",
            f"{first['images']:,}",
            f"{statistics.fmean(entry['seconds'] for entry in group):.0f}",
            ", ".join([first["machine"], *first["trainer"]]),
            str(len(group)),
            first["commit"][:7],
        ]
        lines.append((statistics.fmean(numbers), "| " + " | ".join(cells) + " |"))
    return lines


def write(path: Path = ROOT / "experiments" / "README.md", studies: Path = STUDIES) -> None:
    """Write the boards between their two marks in the lab book's first page."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(path, f"{before}{BEGIN}\n\n{boards(studies)}\n\n{END}{after}")

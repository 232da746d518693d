"""The lists of experiments/README.md: the studies, and the leaderboard of the rows that they put there."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from inkwash.files import write_text
from labbook import page, results
from labbook.study import ROOT, STUDIES, Study, all_studies

MARKS = "<!-- {0}, written by make labbook -->", "<!-- end of the {0} -->"
HEAD = "| recipe | distance | floors | evaluations | images | seconds | hardware | seeds | commit |"


def studies_table(studies: Path = STUDIES) -> str:
    """Return a list of all studies that were measured."""
    lines = ["| study | what was found | trainings |", "|---|---|---|"]
    for study in all_studies(studies):
        runs = {(entry["row"], entry["seed"]) for entry in results.read(study, studies)}
        if runs:
            link = f"[{study.name}](studies/{study.name}/README.md)"
            lines.append(f"| {link} | {study.found} | {len(runs)} |")
    return "\n".join(lines)


def boards(studies: Path = STUDIES) -> str:
    """Return a table for each board that a study names."""
    lines: dict[str, list[tuple[float, str]]] = {}
    for study in all_studies(studies):
        entries = results.read(study, studies)
        for board, content in study.boards.items():
            chosen = content if isinstance(content, dict) else {"rows": content}
            where = {key: str(value) for key, value in chosen.get("where", {}).items()}.items()
            found = [entry for entry in entries if where <= entry["cell"].items()]
            lines.setdefault(board, []).extend(_lines(study, found, chosen.get("rows") or list(study.rows)))
    parts = []
    for board in sorted(lines):
        rows = [line for _, line in sorted(lines[board])]
        parts.append("\n".join([f"### {board}", "", HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows]))
    return "\n\n".join(parts)


def _lines(study: Study, entries: Sequence[results.Entry], rows: Sequence[str]) -> list[tuple[float, str]]:
    """Return (mean distance, line) for each measurement of the rows; inf for what was not measured."""
    entries = [entry for entry in entries if entry["row"] in rows and page.values([entry], "fd")]
    found = page.groups(study, entries)
    missing = [row for row in rows if not any(key[0] == row for key in found)]
    lines = [
        (float("inf"), f"| [{study.name}/{row}](studies/{study.name}/README.md) | not measured | | | | | | | |")
        for row in missing
    ]
    for (row, *cell), group in found.items():
        numbers, first = page.values(group, "fd"), group[0]
        cells = [
            f"[{'/'.join([study.name, row])}](studies/{study.name}/README.md)"
            + "".join(f", {value}" for value in cell),
            page.shown(numbers),
            page.floors(group),
            f"{first['evaluations']:g}",
            f"{first['images']:,}",
            f"{statistics.fmean(entry['seconds'] for entry in group):.0f}",
            "; ".join(dict.fromkeys(", ".join([entry["machine"], *entry["trainer"]]) for entry in group)),
            str(len(group)),
            ", ".join(dict.fromkeys(entry["commit"][:7] for entry in group)),
        ]
        order = page.in_floors(group) or numbers
        lines.append((statistics.fmean(order), "| " + " | ".join(cells) + " |"))
    return lines


def write(path: Path = ROOT / "experiments" / "README.md", studies: Path = STUDIES) -> None:
    """Write studies and boards between their marks in the lab book's first page."""
    text = path.read_text()
    for name, content in (("studies", studies_table(studies)), ("leaderboard", boards(studies))):
        begin, end = (mark.format(name) for mark in MARKS)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    write_text(path, text)

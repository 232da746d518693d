"""Write experiments/mutants/README.md."""

import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.mutants.edits import Mutant
from support.mutants.files import FILES, ROOT, name

REPORT = ROOT / "experiments" / "mutants" / "README.md"
HEAD = """\
# Mutants

Written by `make mutants`: the mathematics broken in one place at a time (a sign, a quotient, a power, a comparison, an
index shifted by one, a sine for a cosine, s for t, ...), and whether the tests notice. Lines are those of commit
{commit}.

| file | mutants | caught | change no result | missed |
|---|---|---|---|---|"""
SAME = "A test on a CPU has no number by which to tell these from the code as it is."


@dataclass(frozen=True)
class Equivalent:
    """Mutants of a file, by their statements, that change no result."""

    file: str
    before: str
    after: str
    why: str

    def matches(self, mutant: Mutant) -> bool:
        return (name(mutant.path), mutant.before, mutant.after) == (self.file, self.before, self.after)


EQUIVALENT = [
    Equivalent(**entry)
    for entry in tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text("utf-8"))["mutant"]
]


class Verdicts:
    """The mutants that no test noticed, told apart."""

    def __init__(self, found: Mapping[Mutant, str | None]):
        self.found = found
        self.reasons = {m: e for m in found for e in EQUIVALENT if e.matches(m)}
        self.harmless = [m for m, by in found.items() if by is None and m in self.reasons]
        self.missed = [m for m, by in found.items() if by is None and m not in self.reasons]

    def mistakes(self) -> list[str]:
        """Return what is wrong with equivalent.toml, as far as these mutants tell."""
        files = {name(m.path) for m in self.found}
        stale = [e for e in EQUIVALENT if e.file in files and e not in self.reasons.values()]
        caught = [m for m, by in self.found.items() if by is not None and m in self.reasons]
        return [
            *(f"equivalent.toml: {e.file} has no such edit any more: {e.after}" for e in stale),
            *(f"equivalent.toml: {name(m.path)}: {m.after} changes a result: {self.found[m]}" for m in caught),
        ]


def write(verdicts: Verdicts) -> None:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    lines = [HEAD.format(commit=commit), *(_row(verdicts, name(path), [path]) for path in FILES)]
    lines += [_row(verdicts, "**all**", FILES), "", "## Missed", ""]
    lines += [_line(m) for m in verdicts.missed] or ["None."]
    lines += ["", "## Change no result", "", SAME, ""]
    for why in dict.fromkeys(verdicts.reasons[m].why for m in verdicts.harmless):
        lines += [f"{why}", "", *(_line(m) for m in verdicts.harmless if verdicts.reasons[m].why == why), ""]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines).rstrip() + "\n", "utf-8")


def _row(verdicts: Verdicts, title: str, paths: list[Path]) -> str:
    every, harmless, missed = (
        sum(m.path in paths for m in mutants) for mutants in (verdicts.found, verdicts.harmless, verdicts.missed)
    )
    return f"| {title} | {every} | {every - harmless - missed} | {harmless} | {missed} |"


def _line(mutant: Mutant) -> str:
    return f"- {name(mutant.path)}:{mutant.line}: `{mutant.before}` -> `{mutant.after}`"

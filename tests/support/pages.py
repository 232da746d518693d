"""What a reader may type, of README.md and docs/: blocks of code, and a place where shells run their commands.

A block `bash` holds commands, one of `title="FILE"` is a file to write, other blocks `python` are code to execute.
"""

import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from support.runs import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
# Writes down its name and arguments, each followed by a zero byte, and a line break after the last.
RECORDER = """#!/bin/sh
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\n\\0'; } >> "$RECORD"
"""
PROGRAMS = ("inkwash", "python", "torchrun", "sbatch", "wandb")


class Block(NamedTuple):
    """A fenced block: its language, the file it is to be written to ("" for none), and its text."""

    kind: str
    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a block of commands; a line that ends with a backslash goes on in the next."""
        return self.text.replace("\\\n", " ").splitlines() if self.kind == "bash" else []


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(f["kind"], f["title"] or "", f["text"]) for f in BLOCK.finditer(page.read_text("utf-8"))]


def write_files(page: Path, place: Path) -> None:
    """Write the files that a page shows below a folder."""
    for block in blocks(page):
        if block.title:
            path = place / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")


def exported(command: str, place: Path) -> dict[str, str]:
    """Return the variables that a line `export NAME=VALUE ...` sets, in a shell in that folder; {} for other lines."""
    word, *settings = shlex.split(command)
    pairs = (setting.partition("=") for setting in settings) if word == "export" else ()
    return {name: value.replace("$PWD", str(place)) for name, _, value in pairs}


class Shell:
    """Runs commands by a shell and the real Makefile, in a folder whose programs only write down their arguments."""

    def __init__(self, place: Path, shell: str = "bash"):
        self.place, self.shell, self.record = place, shell, place / "record"
        (place / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
        for name in ("requirements.lock", "pyproject.toml", ".venv/.installed"):  # in this order, so nothing is old
            path = place / name
            path.parent.mkdir(exist_ok=True)
            path.touch()
        for path in (
            *(place / "bin" / name for name in PROGRAMS),
            place / ".venv/bin/python",
            place / ".venv/bin/mkdocs",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(RECORDER)
            path.chmod(0o755)

    def __call__(self, *lines: str) -> list[list[str]]:
        """Return the program and the arguments of every command that the lines have started."""
        self.record.unlink(missing_ok=True)
        path = f"{self.place / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        subprocess.run(
            [self.shell, "-e", "-c", "\n".join(lines)], cwd=self.place, check=True, stdout=subprocess.DEVNULL,
            env={"PATH": path, "RECORD": str(self.record), "HOME": str(self.place / "home")},
        )  # fmt: skip
        words = self.record.read_text("utf-8").split("\0") if self.record.exists() else []
        calls: list[list[str]] = [[]]
        for word in words[:-1]:
            calls[-1].append(word) if word != "\n" else calls.append([])
        return calls[:-1]


def of_inkwash(call: list[str]) -> list[str]:
    """Return the arguments after `inkwash` of a recorded call, the command first; [] for other programs."""
    program, *arguments = call
    if "inkwash" in arguments and arguments[arguments.index("inkwash") - 1] == "-m":
        arguments = arguments[arguments.index("inkwash") + 1 :]
    elif program != "inkwash":
        return []
    return [argument for argument in arguments if argument != "..."]

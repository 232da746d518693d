"""What earlier trials found, in build/mutants, so that an interrupted run goes on where it stopped."""

import hashlib
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from support.mutants.edits import Mutant
from support.mutants.files import FILES, ROOT, name

FOLDER = ROOT / "build" / "mutants"


class Kept:
    """Values by key, each valid as long as a stamp is the same; a line of JSON for each in a file."""

    def __init__(self, file: Path):
        self.file, self.known = file, {}
        for line in file.read_text("utf-8").splitlines() if file.exists() else []:
            with suppress(json.JSONDecodeError):  # half a line, with which a run ended
                key, stamp, value = json.loads(line)
                self.known[key] = stamp, value
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(self._line(key) for key in self.known), "utf-8")

    def get(self, key: str) -> tuple[str, Any] | None:
        return self.known.get(key)

    def put(self, key: str, stamp: str, value: Any) -> None:
        self.known[key] = stamp, value
        with self.file.open("a", encoding="utf-8") as file:
            file.write(self._line(key))

    def _line(self, key: str) -> str:
        return json.dumps([key, *self.known[key]]) + "\n"


def key_of(mutant: Mutant) -> str:
    return f"{name(mutant.path)}:{mutant.line} {digest(mutant.source)}"


def stamp_of_tests(tests: set[str]) -> str:
    """Return a hash of test files, given by the names of their tests, and of what they import from tests/support."""
    files = {ROOT / test.partition("::")[0] for test in tests}
    shared = [ROOT / "tests" / "conftest.py", *(ROOT / "tests" / "support").glob("*.py")]
    return digest(*map(_text_at_start, sorted({*files, *shared})))


def stamp_of_sources() -> str:
    return digest(*map(_text_at_start, FILES))


@cache
def _text_at_start(path: Path) -> str:
    """Return a file's text when it was first asked for: what is written during the trials, they do not see."""
    return path.read_text("utf-8") if path.exists() else ""


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]

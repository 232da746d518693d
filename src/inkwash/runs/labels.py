"""Find the class that a name or a number means."""

import re
import unicodedata
from difflib import get_close_matches
from typing import Any

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory


def label_of(typed: Any, run: RunDirectory) -> int | None:
    """Return the label that a class's name or number means; a name counts first, also if it is a number.

    Where names are numbers, 01 or 12, a number is one of them and never the place of a class among the others.

    Raises:
        UserError: it is neither.
    """
    names = run.classes
    if typed is None:
        return None
    text = str(typed).lower() if isinstance(typed, bool) else str(typed)
    for spelled in (str, _one_letter, str.lower)[: 3 if isinstance(typed, bool) else 2]:
        found = [label for label, name in enumerate(names) if spelled(name) == spelled(text)]
        if len(found) == 1:
            return found[0]
    if isinstance(typed, int) and not isinstance(typed, bool):
        numbers = {int(name): name for name in names if re.fullmatch(r"[0-9]{1,9}", name)}
        if typed in numbers:
            return names.index(numbers[typed])
        if not numbers:
            return typed
    if not names:
        raise UserError(f"label={text}: the classes of run={run} have no names: give a number, 0, 1, ...")
    near = get_close_matches(text, names, 1, 0) or names[:1]
    raise UserError(f"label={text} is not one of the {len(names)} classes of run={run}: did you mean {near[0]}?")


def _one_letter(name: str) -> str:
    """Return a name with its accents as keyboards type them; macOS stores a letter and its accent apart."""
    return unicodedata.normalize("NFC", name)

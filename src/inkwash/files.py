"""Write files atomically, and read JSON files."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inkwash.errors import UserError

# Error handler of the codec for all text we write: a file's name may have bytes that are not UTF-8.
NAMES = "backslashreplace"


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically: to NAME.partial first, then renamed."""
    partial = path.with_name(f"{path.name}.partial")
    with writing(partial):
        partial.write_text(text, "utf-8", NAMES)
        os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; a value of another type than JSON's is written as its str()."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError if the file is missing or holds something else."""
    if not path.is_file():
        raise UserError(f"{path} is missing, or not a regular file: restore it from a copy")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a copy") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (it does not hold a JSON object): restore it from a copy")
    return found


def make_folder(key: str, folder: Path) -> Path:
    """Create the folder that a configuration key names, unless it exists."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={folder} cannot be made a folder ({error.strerror}): choose another") from error
    return folder


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Delete the file if writing it fails, and name it in the OSError of a full disk."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise

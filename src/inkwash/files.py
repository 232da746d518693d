"""Write files and folders whole or not at all, read JSON files back, and check archives of torch.save."""

import contextlib
import errno
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from inkwash.errors import UserError

# Error handler of the codec for all text we write: a file's name may have bytes that are not UTF-8.
NAMES = "backslashreplace"
# Errors of a network file system that has lost its server for a while, and the waits in seconds before other tries.
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EREMOTEIO) if os.name == "posix" else ()
WAITS = (0.2, 1.0, 5.0)
T = TypeVar("T")


def insisting(action: Callable[[], T]) -> T:
    """Return the value of an action on files, which is tried again if a network file system fails for a moment.

    The action must begin anew at each call. What still fails after WAITS is raised.
    """
    for seconds in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            time.sleep(seconds)
    return action()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; what is there at the end of the block takes its place by a rename.

    If the block fails, `path` stays as it was and the partial file is deleted. Two processes must not write the same
    file at once.
    """
    partial = path.with_name(f"{path.name}.partial")
    with writing(partial):
        yield partial
        os.replace(partial, path)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which is renamed to it at the end of the block.

    So the folder never exists half filled. What a killed process left is deleted by the next one; two processes must
    not fill the same folder at once.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    partial.rename(folder)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""

    def write() -> None:
        with replacing(path) as partial:
            partial.write_text(text, "utf-8", NAMES)

    insisting(write)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; a value of another type than JSON's is written as its str()."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError if the file is missing or holds something else."""
    if not path.is_file():
        raise UserError(f"{path} is missing, or not a regular file: restore it from a copy")
    try:
        found = json.loads(insisting(lambda: path.read_text("utf-8")))
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


def archive_damage(path: Path) -> str | None:
    """Say what is wrong with a file of torch.save, or None.

    It is a zip archive with a CRC-32 of every record, which torch.load does not compare.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "it is compressed, which torch.save does not do"  # and may unpack to any size
            bad = archive.testzip()
    except OSError:
        raise
    except zipfile.BadZipFile:
        return "it is cut short, or not a zip archive"
    except Exception as error:  # anything, from bytes that may be anything
        return str(error) or type(error).__name__
    return None if bad is None else f"the checksum of {bad} is wrong"

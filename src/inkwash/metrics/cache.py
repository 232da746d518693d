"""Results worth keeping between runs: made by one process, awaited by the others, never seen half written."""

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from inkwash.errors import UserError
from inkwash.files import writing

log = logging.getLogger(__name__)


def cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The dictionary of tensors and plain values stored at `path`, made and stored first if it is not there.

    Of several processes that ask at once (ranks, jobs of a sweep) one makes it. The file appears by a rename, so it is
    whole whenever it exists, and an existing file needs no lock: a cache may be read-only. One that was damaged since
    is made anew.
    """
    found = _read(path)
    if found is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock").acquire()
        except OSError as error:
            raise UserError(
                f"{path.parent} cannot be written ({error.strerror}): set INKWASH_DATA to a folder"
            ) from error
        with lock:
            found = _read(path)
            if found is None:
                made, temporary = make(), path.with_suffix(f".{os.getpid()}.tmp")
                with writing(temporary), open(temporary, "wb") as file:
                    torch.save(made, file)
                temporary.replace(path)
                found = torch.load(path, weights_only=True)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """What is stored; None where nothing is, or something damaged."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch.load compares no checksums
                raise zipfile.BadZipFile(f"the checksum of {part} is wrong")
        return torch.load(path, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises anything, a KeyError for one
        log.warning("%s is damaged (%s): it is made anew", path, str(error).partition("\n")[0] or type(error).__name__)
        return None

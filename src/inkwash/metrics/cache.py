"""Cache of results on disk: computed by one process while the others wait, replaced if damaged."""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from filelock import FileLock

from inkwash.errors import UserError
from inkwash.files import archive_damage, replacing

log = logging.getLogger(__name__)


def cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load the dictionary of tensors and plain values at `path`; compute and store it first if it is not there.

    Of several processes that call this at once (ranks, jobs of a sweep) one computes it. The file appears by a rename,
    so it is whole whenever it exists, and reading it needs no lock: a cache may be read-only. A file that was damaged
    later is computed anew.
    """
    found = _read(path)
    if found is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock").acquire()
        except OSError as error:
            raise _unwritable(path.parent, error) from error
        with lock:
            found = _read(path)
            if found is None:
                made = make()
                with replacing(path) as partial, open(partial, "wb") as file:
                    torch.save(made, file)
                found = torch.load(path, weights_only=True)
    return found


def check_writable(folder: str | Path) -> None:
    """Raise UserError unless files can be made in a folder, which is made: before the work that is to be stored."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: str | Path, error: OSError) -> UserError:
    return UserError(f"{folder} cannot be written ({error.strerror}): set INKWASH_DATA to a folder")


def _read(path: Path) -> dict[str, Any] | None:
    """Return what is stored; None if there is no file, or a damaged one."""
    if not path.exists():
        return None
    reason = archive_damage(path)
    if reason is None:
        try:
            return torch.load(path, weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged pickle raises anything, a KeyError for one
            reason = str(error).partition("\n")[0] or type(error).__name__
    log.warning("%s is damaged (%s): computing it again", path, reason)
    return None

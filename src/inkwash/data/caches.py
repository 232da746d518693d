"""Folders of data.source.cache_dir: made once, and read by any number of users, from read-only disks too."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from inkwash.errors import UserError
from inkwash.files import filling


def ensure(directory: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder of the cache unless it is there: the first rank or job fills it, the others wait.

    What is there is used without a lock, and needs no permission to write.

    Args:
        directory: the folder, which never exists half filled.
        fill: writes its files into the folder that it is given.

    Raises:
        UserError: the cache cannot be written to, or locked.
    """
    if directory.is_dir():
        return
    make_cache_dir(directory.parent)
    with locked(directory):
        if directory.is_dir():
            return
        try:
            with filling(directory) as partial:
                fill(partial)
        except FileExistsError as error:
            raise UserError(
                f"{error.filename} is left of another user's job: delete it, or choose another data.source.cache_dir"
            ) from error


def make_cache_dir(path: Path) -> None:
    """Create the cache folder. Raises UserError if it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"data.source.cache_dir={path} cannot be written to: choose another folder")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a folder of the cache, whichever user made the lock's file.

    Raises:
        UserError: the file system has no locks.
    """
    path = Path(f"{directory}.lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, mode=0o666))
        except PermissionError:
            stack.enter_context(_readers_lock(path))
        except (OSError, NotImplementedError) as error:
            raise UserError(
                f"{directory.parent} is on a disk where files cannot be locked ({error}): choose another folder"
            ) from error
        yield


@contextmanager
def undamaged(directory: Path) -> Iterator[None]:
    """Turn errors of reading a cache into a UserError: a file in it is cut short, replaced or missing."""
    try:
        yield
    except (FileNotFoundError, EOFError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{directory} is damaged ({str(error).partition(chr(10))[0]}): delete it") from error


@contextmanager
def _readers_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file that another user made, which FileLock would open for writing."""
    import fcntl  # not on Windows

    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

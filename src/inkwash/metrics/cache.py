"""Results worth keeping between runs: made by one process, awaited by the others, never seen half written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from inkwash.errors import UserError


def cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The dictionary of tensors and plain values stored at `path`, made and stored first if it is not there.

    Of several processes that ask at once (ranks, jobs of a sweep) one makes it. The file appears by a rename, so it is
    whole whenever it exists, and an existing file needs no lock: a cache may be read-only.
    """
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock").acquire()
        except OSError as error:
            raise UserError(
                f"{path.parent} cannot be written ({error.strerror}): set INKWASH_DATA to a folder"
            ) from error
        with lock:
            if not path.exists():
                temporary = path.with_suffix(f".{os.getpid()}.tmp")
                torch.save(make(), temporary)
                temporary.replace(path)
    return torch.load(path, weights_only=True)

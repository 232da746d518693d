"""Names of new directories: runs, sweeps, and what commands write below them."""

import contextlib
import re
from datetime import datetime
from pathlib import Path

from inkwash.errors import UserError

SAFE = re.compile(r"[A-Za-z0-9._-]+")


def stamp() -> str:
    """Month, day and time, for the name of a directory."""
    return datetime.now().strftime("%m%d-%H%M%S")


def safe_name(key: str, name: str) -> str:
    """Return the name if no shell and no Hydra command line needs to quote it; raise UserError otherwise."""
    if not SAFE.fullmatch(name) or name.startswith((".", "-")) or name == "latest" or len(name) > 200:
        raise UserError(
            f"{key}={' '.join(name.split())[:60]} must be letters, digits, '.', '_' and '-', 200 at most, the first a "
            "letter or digit, and not `latest`"
        )
    return name


def new_directory(parent: Path, name: str) -> Path:
    """Create parent/name, or parent/name-2, ...: of simultaneous callers each gets another one."""
    for count in range(1, 10_000):
        directory = parent / (name if count == 1 else f"{name}-{count}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory
    raise UserError(f"{parent} holds 10,000 runs called {name}: pass run=NAME")

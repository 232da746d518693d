"""The configuration of a resume until it has proven itself. No torch: the launcher asks too.

config.yaml is what the checkpoints were trained with. A resume's own stands beside it until there is a checkpoint of it
too; so one that is refused, fails or is killed before that leaves the run as it was.
"""

import contextlib
import os
from pathlib import Path

NAME = "config.next.yaml"


def path(directory: Path) -> Path:
    """Where it is, if it is."""
    return directory / NAME


def settle(directory: Path) -> None:
    """Make it config.yaml."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(path(directory), directory / "config.yaml")


def drop(directory: Path) -> bool:
    """Forget it; whether there was one."""
    there = path(directory).exists()
    path(directory).unlink(missing_ok=True)
    return there

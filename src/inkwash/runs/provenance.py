"""Find out the commit and the package versions that a result was made with."""

import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """Return the commit, whether the checkout differs from it, and the versions of the main packages."""
    packages = ("torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "wandb")
    return {
        "commit": commit(),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
    }


@cache
def commit() -> str | None:
    """Return the commit of the checkout, None in an installation."""
    return _git("rev-parse", "HEAD")


@cache
def version() -> str | None:
    """Return the commit, with -dirty if the checkout differs from it."""
    return f"{commit()}-dirty" if _git("status", "--porcelain") else commit()


def _git(*arguments: str) -> str | None:
    try:
        where = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

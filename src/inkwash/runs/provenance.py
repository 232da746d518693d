"""Find out the commit and the package versions that a result was made with."""

import os
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
        "dirty": commit() is not None and is_changed(),
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
    }


@cache
def commit() -> str | None:
    """Return the commit of the checkout, None in an installation.

    An environment often lies in the repository of another project, whose commits are not ours: it counts
    only if this file is tracked there.
    """
    return commit_of(Path(__file__))


def commit_of(source: Path) -> str | None:
    """Return the commit of the repository that tracks a file, None if none does."""
    tracked = _git("ls-files", "--error-unmatch", "--", source.name, where=source.parent)
    return None if tracked is None else _git("rev-parse", "HEAD", where=source.parent)


@cache
def checkout() -> str | None:
    """Return the root of the checkout, None in an installation."""
    return _git("rev-parse", "--show-toplevel") if commit() else None


@cache
def version() -> str | None:
    """Return the commit, with -dirty if the checkout differs from it."""
    return f"{commit()}-dirty" if commit() and is_changed() else commit()


def is_changed(package: Path = Path(__file__).parent) -> bool:
    """Return whether the checkout around a package has changes, but for pages, which runs write and none reads."""
    pages = (":(top,exclude)experiments", ":(top,exclude)docs")
    return bool(_git("status", "--porcelain", "--", ":(top)", *pages, where=package))


def _git(*arguments: str, where: Path = Path(__file__).parent) -> str | None:
    """Return the output of git in a folder, None if it fails. Its variables are left out: hooks set them for others."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=where, env=variables, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()

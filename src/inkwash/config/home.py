"""A home, a user name and a cache for libraries that ask for them, on machines that have none.

Containers and batch systems run programs as a number without an entry in the list of users, without HOME, or with a
home that cannot be written to. W&B, torch and others then raise errors of their own.
"""

import getpass
import os
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path


def complete_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set HOME, USER and folders for caches where this process has no home, no user name, or a home it cannot write to.

    The processes of a job inherit them. What is there stays: keys are read from a home that is read-only.
    """
    if sys.platform == "win32":  # where every user has them
        return
    try:
        home = Path.home()
    except RuntimeError:
        home = _private_folder()
        environment["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        environment["USER"] = f"user-{os.getuid()}"
    for variable, folder in (("XDG_CACHE_HOME", ".cache"), ("MPLCONFIGDIR", ".config")):
        if not environment.get(variable) and not _writable(home / folder):
            environment[variable] = str(_private_folder() / folder)


def _writable(folder: Path) -> bool:
    """Tell whether files can be written to a folder, which may have to be made."""
    there = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """Make a folder of this user's own for temporary files, the same one each time."""
    folder = Path(tempfile.gettempdir(), f"inkwash-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        if state.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink() and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="inkwash-"))  # another user has made it

"""Write to what the key `out` names: only what a command of the same kind has written is replaced."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from inkwash.errors import UserError
from inkwash.files import make_folder
from inkwash.runs.overview import is_run


def output_folder(out: str, mark: str, files: Sequence[str]) -> Path:
    """Return the folder, which is made unless it exists.

    Args:
        out: the value of the key.
        mark: the file that the command writes there first, sample.yaml for example.
        files: names of others that the command writes or deletes.

    Raises:
        UserError: it cannot be made, is a run, or holds one of the files but not the mark.
    """
    folder = Path(out)
    if is_run(folder):
        raise UserError(f"out={out} is a run, whose files would be replaced: choose another folder")
    if not (folder / mark).is_file():
        for name in (*files, "error.txt"):
            if (folder / name).exists():
                raise UserError(f"out={out} has {name} and no {mark}, so it would replace another's: choose another")
    return make_folder("out", folder)


@contextlib.contextmanager
def writing_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise UserError that says what to type where a folder is another user's, or on a read-only disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}): pass out=PATH, where you may write") from error

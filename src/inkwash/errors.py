"""UserError, the exception for mistakes that the user can correct, and what counts as one."""

import errno
import re
from collections.abc import Iterator

# A full disk, a used-up quota, a file larger than allowed.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """Unusable configuration, file or image.

    The message is one sentence that names the key or file and the fix. Entry points print it without a
    traceback and exit with status 1; every other exception is a bug and keeps its traceback.
    """


def user_error(error: BaseException | None) -> UserError | None:
    """Return the UserError that an exception is or was raised from (Hydra wraps exceptions of constructors), else None.

    A full disk, a file in place of a folder, a folder in place of a file and a missing permission count as such, too.
    """
    full = next((text for e in chain(error) if (text := no_room(e))), None)  # libraries raise their own error on top
    while error is not None:
        if isinstance(error, UserError):
            return error
        if isinstance(error, IsADirectoryError | NotADirectoryError | PermissionError) and error.filename:
            return UserError(f"{error.filename}: {error.strerror}")
        error = error.__cause__
    return UserError(full) if full else None


def no_room(error: BaseException) -> str | None:
    """Return a sentence for the error of a full disk, None for any other error."""
    if not isinstance(error, OSError):
        return None
    of_numpy = error.errno is None and re.search(r"\d+ requested and \d+ written", str(error))
    if not of_numpy and error.errno not in NO_ROOM:
        return None
    reason = "No space left on device" if of_numpy else error.strerror
    file = error.filename or "a file"
    return f"{file} cannot be written ({reason}): free some space and start the same command again"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and those it was raised from or on top of, each once: the links may form a ring."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

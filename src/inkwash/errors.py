"""The one exception for mistakes a user can mend."""

from collections.abc import Iterator


class UserError(Exception):
    """An unusable config, file or image.

    The message is one sentence that names the key or file and the fix. Entry points print it without a
    traceback and exit with status 1; every other exception is a bug and keeps its traceback.
    """


def user_error(error: BaseException | None) -> UserError | None:
    """The UserError that an exception is or was raised from: Hydra's instantiation wraps what constructors raise.

    A file that is a folder, a folder that is a file or one that may not be touched is the user's to mend, too.
    """
    while error is not None:
        if isinstance(error, UserError):
            return error
        if isinstance(error, IsADirectoryError | NotADirectoryError | PermissionError) and error.filename:
            return UserError(f"{error.filename}: {error.strerror}")
        error = error.__cause__
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those it was raised from or on top of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

"""Read files from disks and networks that may fail for a while, and say what a file is that is no image."""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from inkwash.errors import UserError

Result = TypeVar("Result")

# Seconds between attempts: a network file system that is asked again at once fails again.
PAUSES = (0.1, 0.5, 2.0, 5.0)
# Errors of a machine or network that may be gone a moment later. Every name is not known on every platform.
PASSING = {
    getattr(errno, name)
    for name in (
        "EIO", "ESTALE", "ENFILE", "EMFILE", "ENOMEM", "EAGAIN", "EBUSY", "EINTR", "ENOLCK", "ENOBUFS", "EREMOTEIO",
        "ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ECOMM",
        "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN", "ESHUTDOWN", "EPIPE", "ETIME", "EPROTO", "ENODEV", "ENXIO",
    )
    if hasattr(errno, name)
}  # fmt: skip
BEGINNING = 512  # bytes of a file that tell what it is
LARGEST = 2**31  # bytes of an image file; no format holds more in the pixels that Pillow accepts
# What is often found in place of an image or a shard: text or bytes at a position, what it is, what to do.
STRANGERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` where the files come from"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC", "save it as PNG or JPEG"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL", "save it as PNG or JPEG"),
    (128, b"DICM", "DICOM", "save it as 16-bit PNG or TIFF"),
    (0, b"v/1\x01", "OpenEXR", "save it as PNG or TIFF"),
    (0, (b"<!doctype html", b"<!DOCTYPE html", b"<html"), "a web page", "fetch the image again"),
    (0, (b"<svg", b"<?xml"), "a vector drawing or XML", "save it as PNG"),
    (0, b"%PDF", "a PDF document", "save its images as PNG"),
    (4, b"ftyp", "a film", "save its frames as PNG or JPEG"),
    (0, b"\x93NUMPY", "a NumPy array", "save its images as PNG, or as arrays of pixels in a Parquet file"),
    (0, (b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95"), "a pickle of Python", "save its images as PNG"),
    (0, b"\x89HDF", "an HDF5 file", "save its images as PNG"),
    (0, b"PAR1", "a Parquet file", "use data=parquet for it"),
    (0, b"ARROW1", "an Arrow file", "write it as Parquet"),
    (0, b"PK\x03\x04", "a zip file", "unpack it, or use data=folder for a zip file of images"),
    (257, b"ustar", "a tar file", "use data=webdataset for it, or unpack it"),
)


class CorruptImageError(UserError):
    """The bytes are not an image, or a damaged one: the error that `data.source.skip_corrupt=true` ignores."""


class NoImage(bytes):
    """Empty bytes in place of an image that a data set should hold, with a sentence's end that says why.

    Args:
        reason: what is wrong, and what to do.
        corrupt: whether `data.source.skip_corrupt=true` passes it over.
    """

    def __new__(cls, reason: str, corrupt: bool = True):
        empty = super().__new__(cls)
        empty.reason, empty.corrupt = reason, corrupt
        return empty

    reason: str
    corrupt: bool


class Scaled(bytes):
    """An image file that was made of an array of pixels whose levels are 0 .. 255 by the stated range already."""


def named_file(file: Path) -> bool:
    """Tell whether a path that a data set names is a file; a pipe, which may never end, is none."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path with a zero byte
        return False


def missing(file: Path) -> NoImage:
    """Return what takes the place of a file that a data set names."""
    return NoImage(f"its file {file} does not exist, or is a folder or a pipe: put it there, or correct the path")


def patiently(read: Callable[[], Result], name: str) -> Result:
    """Return `read()`, after some more attempts if the machine, disk or network fails.

    Args:
        read: is called up to 1 + len(PAUSES) times.
        name: what is read, for the error.

    Raises:
        UserError: the attempts failed, or it is missing or not permitted: not the fault of what the file holds.
            Any other error of `read` passes through.
    """
    for pause in (*PAUSES, None):
        try:
            return read()
        except MemoryError as error:
            if pause is None:
                raise UserError(f"{name} cannot be read: the memory of this machine does not suffice") from error
        except OSError as error:
            if error.errno is None:  # Pillow's and pyarrow's word for damage
                raise
            if pause is None or error.errno not in PASSING:
                raise UserError(
                    f"{name} cannot be read ({os.strerror(error.errno)}): {_advice(error.errno)}"
                ) from error
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def content_of(file: Path) -> bytes:
    """Read an image file. Raises ValueError if it is too large to be one."""
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{LARGEST:,} bytes are exceeded")
    return file.read_bytes()


def version_of(file: Path) -> tuple[str, int, int]:
    """Return (path, size, time of change in ns), which tells one state of a file from another.

    Raises:
        UserError: it is not a regular file.
    """
    try:
        state = file.stat()
    except FileNotFoundError as error:
        raise UserError(f"{file} is a link to a file that does not exist: remove it from data.path") from error
    if not stat.S_ISREG(state.st_mode):  # reading from a pipe may never end
        raise UserError(f"{file} is a pipe, a socket or a device: remove it from data.path")
    return str(file), state.st_size, state.st_mtime_ns


def stranger(content: bytes, expected: str = "") -> tuple[str, str] | None:
    """Return what the first bytes of a file show it to be, and what to do; None if they show nothing known.

    Args:
        expected: the kind of STRANGERS that the file should be of, which is none then.
    """
    for position, signs, kind, advice in STRANGERS:
        if kind != expected and content.startswith(signs, position):
            return kind, advice
    return None


def _advice(number: int) -> str:
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open: raise `ulimit -n`, then start the same command again"
    if number not in PASSING:
        return "check that it is there and may be read"
    return f"it was tried {1 + len(PAUSES)} times; check the disk or the network, then start the same command again"

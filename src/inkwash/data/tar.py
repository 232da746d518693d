"""Members of tar files: where their bytes lie, links among them, and what is damaged or no part of the data."""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inkwash.data.facts import PassedOver, note
from inkwash.data.reading import BEGINNING, patiently, stranger
from inkwash.data.unseen import unseen
from inkwash.errors import UserError

# Exceptions of tarfile for damaged files.
DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, KeyError)
GAP = 2**20  # bytes between two images that are rather read and dropped than skipped by a second read
# First bytes of compressed files, and what unpacks them.
PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class Member(NamedTuple):
    """A file in a tar file: its name without a leading "./", the one that is stored, its place, its time of change."""

    name: str
    stored: str
    offset: int
    size: int
    mtime: float


def members(file: Path, passed_over: PassedOver) -> Iterator[Member]:
    """Yield the files of a tar file in order, with links to other members in it in the place of those.

    Args:
        passed_over: is given what is not used.

    Raises:
        UserError: the file is damaged, cut short or compressed.
        OSError: it cannot be read for now.
    """
    places: dict[str, tuple[int, int]] | None = None
    for member in _headers(file):
        name = posixpath.normpath(member.name)
        if _of_the_system(name):
            note(passed_over, "hidden, or of the operating system", member.name)
        elif member.issparse():
            raise UserError(f"{member.name} in {file} is stored as a sparse file: pack again without --sparse")
        elif member.isreg():
            yield Member(name, member.name, member.offset_data, member.size, member.mtime)
        elif member.islnk() or member.issym():
            places = _places(file) if places is None else places
            place = places.get(_target(member))
            if place is None:
                note(passed_over, "links to files that are not in the tar file", member.name)
            else:
                yield Member(name, member.name, *place, member.mtime)


def read_spans(file: Path, spans: np.ndarray) -> list[bytes]:
    """Read parts of a file, int64 (n, 2) of offset and size; those that lie side by side in one read.

    Raises:
        UserError: the file cannot be read, or is shorter.
    """
    contents, order = [b""] * len(spans), np.argsort(spans[:, 0], kind="stable")
    begins, ends = spans[order, 0], np.maximum.accumulate(spans[order].sum(1))
    breaks = np.flatnonzero(begins[1:] > ends[:-1] + GAP) + 1
    for run in np.split(order, breaks) if len(order) else ():
        begin, end = int(spans[run, 0].min()), int(spans[run].sum(1).max())
        content = patiently(lambda begin=begin, end=end: _bytes(file, begin, end), str(file))
        if len(content) < end - begin:
            raise UserError(f"{file} was cut short after the job began: fetch it again")
        for i in run:
            offset, size = spans[i].tolist()
            contents[i] = content[offset - begin : offset - begin + size]
    return contents


def content_of(file: Path, member: Member) -> bytes:
    """Read a file in a tar file."""
    return read_spans(file, np.array([[member.offset, member.size]]))[0]


def name_at(file: Path, offset: int) -> str:
    """Return the name of the file that begins at an offset."""
    return next((m.name for m in _headers(file) if m.offset_data == offset), f"the image at byte {offset}")


def _bytes(file: Path, begin: int, end: int) -> bytes:
    """Read [begin, end), as much of it as there is; Linux reads at most 2 GB at once."""
    parts = []
    with open(file, "rb", buffering=0) as stream:
        while begin < end and (part := os.pread(stream.fileno(), end - begin, begin)):
            parts.append(part)
            begin += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _headers(file: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar file up to its end mark, which is checked: tarfile takes damage for the end."""
    try:
        tar = tarfile.open(file, "r:")  # noqa: SIM115  # is closed below
    except DAMAGE as error:
        _raise_if_passing(error)
        raise UserError(f"{file} cannot be read as a tar file without compression: {_advice(file)}") from error
    try:
        while (member := tar.next()) is not None:
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile keeps every one
            if member.size < 0:
                raise tarfile.ReadError("a negative size, which would make tarfile loop forever")
            yield member
        tar.fileobj.seek(tar.offset)  # pyright: ignore[reportOptionalMemberAccess]
        mark = tar.fileobj.read(tarfile.BLOCKSIZE)  # pyright: ignore[reportOptionalMemberAccess]
        if mark != bytes(tarfile.BLOCKSIZE):
            raise UserError(f"{file} is damaged or cut short at byte {tar.offset}: fetch it again")
        _refuse_more(tar.fileobj, file)
    except DAMAGE as error:
        _raise_if_passing(error)
        raise UserError(f"{file} is damaged or cut short: fetch it again") from error
    finally:
        tar.close()


def _refuse_more(stream: Any, file: Path) -> None:
    """Raise UserError if anything but zeros follows the end mark, as in tar files that were put together by cat."""
    while part := stream.read(GAP):
        if part.count(0) < len(part):
            raise UserError(
                f"{file} goes on after its end mark, which tar -i alone reads: unpack it with tar -xif, and pack again"
            )


def _raise_if_passing(error: Exception) -> None:
    """Raise an error of the machine again, which is no damage of the file."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _places(file: Path) -> dict[str, tuple[int, int]]:
    """Return offset and size of every file in a tar file, the last one of a name as when it is unpacked.

    Links have those of the file that they lead to, over other links if need be.
    """
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    for member in _headers(file):
        name = posixpath.normpath(member.name)
        if member.isreg():
            places[name] = (member.offset_data, member.size)
        elif member.islnk() or member.issym():
            links[name] = _target(member)
    for name in links:
        seen, target = {name}, links[name]
        while target in links and target not in places and target not in seen:
            seen.add(target)
            target = links[target]
        if name not in places and target in places:
            places[name] = places[target]
    return places


def _target(link: tarfile.TarInfo) -> str:
    """Return the name of the member that a link names; those of symbolic links count from their folder."""
    beside = posixpath.dirname(posixpath.normpath(link.name)) if link.issym() else ""
    return posixpath.normpath(posixpath.join(beside, link.linkname))


def _of_the_system(name: str) -> bool:
    """Return True for what macOS, Windows and tar itself put beside the files of the user, and for hidden files."""
    parts = name.split("/")
    return (
        unseen(part for part in parts if part not in (".", "..")) is not None
        or any(part.startswith(("PaxHeader", "@LongLink")) for part in parts)
        or parts[-1].lower() in ("thumbs.db", "desktop.ini")
    )


def _advice(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            start = stream.read(BEGINNING)
    except OSError:
        return "unpack or fetch it again"
    if known := stranger(start, expected="a tar file"):
        return f"it is {known[0]}; {known[1]}"
    command = next((command for sign, command in PACKED.items() if start.startswith(sign)), None)
    plain = file.stem if file.stem.endswith(".tar") else f"{file.stem}.plain.tar"
    return f"unpack it first, `{command} < {file.name} > {plain}`" if command else "unpack or fetch it again"

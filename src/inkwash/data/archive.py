"""Zip files in the place of folders: their members have paths as if the zip file were a folder."""

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from inkwash.data.facts import PassedOver, note
from inkwash.data.reading import BEGINNING, LARGEST, patiently, stranger
from inkwash.data.unseen import unseen
from inkwash.errors import UserError

# Exceptions of zipfile for damaged files; NotImplementedError and RuntimeError are for what it cannot unpack.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, KeyError, OSError)


class Archive:
    """The files of a zip file, or of a folder within it.

    A file is opened for each call, and none stays open: processes that are forked share no position in it.

    Args:
        path: the zip file.
        root: the zip file's path, or that of a folder within it.

    Attributes:
        files: paths of the files below the root, sorted, without hidden ones and folders.
        passed_over: hidden files, links, and files with .. in their paths.

    Raises:
        UserError: it is no zip file, damaged, encrypted, or has a file twice.
    """

    def __init__(self, path: Path, root: Path):
        self.path = path
        self.passed_over: PassedOver = {}
        with _opened(path) as packed:
            members = packed.infolist()
        for member in members:
            if member.flag_bits & 1:
                raise UserError(f"{path} is encrypted: unpack it, and give the folder")
        found: set[Path] = set()
        for member in members:
            file = path / _name(member)
            if ".." in file.relative_to(path).parts:  # counted for every root: it is not known which it is part of
                note(self.passed_over, "with .. in their paths", member.filename)
                continue
            if _name(member).endswith("/") or not file.is_relative_to(root):
                continue
            if reason := _unused(member, file.relative_to(path)):
                note(self.passed_over, reason, member.filename)
                continue
            if file in found:
                raise UserError(f"{path} holds {member.filename} twice: pack it again")
            found.add(file)
        self.files = sorted(found)

    def read(self, file: Path) -> bytes:
        """Read a file. Raises UserError if it is damaged."""
        return next(self.contents([file])) or self._damaged(file)

    def contents(self, files: Sequence[Path]) -> Iterator[bytes]:
        """Yield the contents of files; b"" for a damaged one.

        Raises:
            UserError: the zip file cannot be read, or is packed with a method that Python does not know.
        """
        with contextlib.ExitStack() as stack:
            packed = stack.enter_context(_opened(self.path))
            names = {str(self.path / _name(member)): member for member in packed.infolist()}
            for file in files:
                member = names[str(file)]
                yield patiently(lambda member=member: self._content(packed, member), f"{file}")

    def children(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the folders and the files that lie in a folder, not deeper."""
        inside = [file for file in self.files if file.is_relative_to(folder)]
        deeper = {folder / parts[0] for file in inside if len(parts := file.relative_to(folder).parts) > 1}
        return sorted(deeper), [file for file in inside if file.parent == folder]

    def _content(self, packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        if member.file_size > LARGEST:
            return b""
        try:
            return packed.read(member)
        except (NotImplementedError, RuntimeError) as error:
            raise UserError(f"{self.path} cannot be unpacked ({error}): unpack it, and give the folder") from error
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            return b""

    def _damaged(self, file: Path) -> bytes:
        raise UserError(f"{file} is empty or damaged: pack {self.path} again, or fetch it again")


def archive_of(root: Path) -> Archive | None:
    """Return the archive that a path is, or leads into; None for one that is or lies in a folder, or does not exist."""
    path = zip_of(root)
    if path is None:
        return None
    state = path.stat()
    return _archive(path, root, state.st_size, state.st_mtime_ns)


@lru_cache(8)
def _archive(path: Path, root: Path, *_version: int) -> Archive:
    return Archive(path, root)


def forget() -> None:
    """Free the lists of files of the archives that were looked at, which may be long."""
    _archive.cache_clear()


def zip_of(root: Path) -> Path | None:
    """Return the zip file that a path is, or leads into."""
    for place in (root, *root.parents):
        if place.is_file():
            return place if place.suffix.lower() == ".zip" or zipfile.is_zipfile(place) else None
        if place.is_dir():
            return None
    return None


def top_of(root: Path, classes: Collection[str] = ()) -> Path:
    """Return the folder that holds all files of a zip file: zips of a folder have its name in front of all others.

    Args:
        classes: names of folders that are classes, and so never a name in front.
    """
    archive = archive_of(root)
    while archive and archive.files:
        folders, files = archive.children(root)
        if files or len(folders) != 1 or folders[0].name in classes:
            break
        root = folders[0]
    return root


def _opened(path: Path) -> zipfile.ZipFile:
    """Open a zip file. Raises UserError if it is none."""
    try:
        return patiently(lambda: zipfile.ZipFile(path), str(path))
    except DAMAGE as error:
        with open(path, "rb") as file:
            known = stranger(file.read(BEGINNING), expected="a zip file")
        advice = f"it is {known[0]}; {known[1]}" if known else "fetch or pack it again"
        raise UserError(f"{path} is no zip file, or damaged: {advice}") from error


def _name(member: zipfile.ZipInfo) -> str:
    """Return a member's path, which some tools write with backslashes, or from the root as unpacking never leads."""
    return member.filename.replace("\\", "/").lstrip("/")


def _unused(member: zipfile.ZipInfo, name: Path) -> str | None:
    if reason := unseen(name.parts):
        return reason
    return "links" if stat.S_ISLNK(member.external_attr >> 16) else None

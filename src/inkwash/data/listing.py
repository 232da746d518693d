"""List the image files of a folder."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from inkwash.data.archive import Archive, archive_of
from inkwash.data.facts import PassedOver, merged, note
from inkwash.data.listed import LISTS
from inkwash.data.opening import FORMATS, is_image
from inkwash.data.unseen import unseen
from inkwash.errors import UserError
from inkwash.files import insisting

# Files with one of these names are never images; a file with another name is opened.
OTHER = {
    ".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".yaml", ".yml", ".ini", ".db", ".log", ".py",
    ".ipynb", ".pdf", ".pkl", ".pt", ".pth", ".ckpt", ".safetensors", ".url", ".lnk", ".part", ".sha256", ".md5",
}  # fmt: skip
# Files that hold images, and that `folder` does not read.
PICTURES = {
    ".heic", ".heif", ".jxl", ".svg", ".exr", ".hdr", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".dcm", ".nii",
    ".npy", ".npz", ".h5", ".hdf5", ".mat", ".tar", ".tgz", ".gz", ".zip", ".7z", ".rar", ".parquet", ".lmdb", ".mdb",
    ".tfrecord", ".mp4", ".avi", ".mov", ".webm", ".mkv",
}  # fmt: skip


class Listing(NamedTuple):
    """Image files below a folder, sorted, so that nothing depends on the file system's order."""

    files: list[Path]
    passed_over: PassedOver
    suspicious: tuple[str, ...]

    def suspecting(self, more: tuple[str, ...]) -> "Listing":
        """Return the listing with more that is suspicious."""
        return self._replace(suspicious=(*self.suspicious, *more))


def images_below(root: Path) -> Listing:
    """List the image files below a folder, or a zip file or folder in it, without hidden ones.

    Links are followed, to each real path once.
    """
    files: list[Path] = []
    passed_over: PassedOver = {}
    unread, archive = None, archive_of(root)
    if archive:
        passed_over = merged([archive.passed_over])
    for file in archive.files if archive else sorted(_Walk(root, passed_over).files):
        suffix = file.suffix.lower()
        if suffix in suffixes() or (suffix not in OTHER | PICTURES and _is_image(file, archive)):
            files.append(file)
            continue
        if file.parent == root and file.name in LISTS:  # folder.py tells of those that are not used
            continue
        name = str(file.relative_to(root))
        note(passed_over, "not images" if suffix not in PICTURES else "of a format that is not read", name)
        unread = unread or (name if suffix in PICTURES else None)
    suspicious = ()
    if unread:
        suspicious = (f"{root} has files like {unread}, which may be images, but are not read: convert them",)
    return Listing(files, passed_over, suspicious)


def _is_image(file: Path, archive: Archive | None) -> bool:
    if archive is None:
        # A pipe, which must not be opened, and a link to nothing are refused by name, once their turn comes.
        return not file.is_file() or is_image(file)
    return is_image(next(archive.contents([file])))


def children(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible folders and the files in a folder or zip file, not deeper, sorted."""
    if archive := archive_of(folder):
        return archive.children(folder)
    found = [Path(entry.path) for entry in _entries(folder) if not unseen([entry.name])]
    return [path for path in found if path.is_dir()], [path for path in found if not path.is_dir()]


class _Walk:
    """The visible files below a folder. Links come after all that is reached without one, each real path once."""

    def __init__(self, root: Path, passed_over: PassedOver):
        self.root, self.passed_over = root, passed_over
        self.files: list[Path] = []
        self.folders: set[str] = set()  # real paths
        self.links: list[os.DirEntry[str]] = []
        self._visit(root)
        if self.links:
            self._follow({os.path.realpath(file) for file in self.files})

    def _visit(self, start: Path) -> list[Path]:
        """Add the files below a folder that needs no link to be reached; return them."""
        waiting, found = [start], []
        while waiting:
            folder = waiting.pop()
            self.folders.add(os.path.realpath(folder))
            for entry in _entries(folder):
                if reason := unseen([entry.name]):
                    self._pass_over(reason, entry.path)
                elif entry.is_symlink():
                    self.links.append(entry)
                elif entry.is_dir():
                    waiting.append(Path(entry.path))
                else:
                    found.append(Path(entry.path))
        self.files += found
        return found

    def _follow(self, real: set[str]) -> None:
        """Follow the links, those that are found on the way too."""
        while self.links:
            link = self.links.pop(0)
            target = os.path.realpath(link.path)
            if target in self.folders or target in real:
                self._pass_over("links to what is there already", link.path)
            elif os.path.isdir(target):
                real.update(os.path.realpath(file) for file in self._visit(Path(link.path)))
            else:
                real.add(target)
                self.files.append(Path(link.path))

    def _pass_over(self, reason: str, path: str) -> None:
        note(self.passed_over, reason, str(Path(path).relative_to(self.root)))


def inside(files: Sequence[Path], path: Path) -> dict[str, dict[str, None]]:
    """Return for each first-level subfolder the names of the subfolders in it that hold images, in order."""
    found: dict[str, dict[str, None]] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        if parts := folder.relative_to(path).parts:
            found.setdefault(parts[0], {}).update(dict.fromkeys(parts[1:2]))
    return found


def without_images(folders: Sequence[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """Return a sentence for the report if a folder beside those of the classes has no images.

    Args:
        folders: the first level of subfolders.
        files: all images.
    """
    used = {parent for file in files for parent in file.parents}
    empty = [folder for folder in folders if folder not in used and not folder.is_symlink()]
    if not empty or used.isdisjoint(folders):
        return ()
    names = ", ".join(folder.name for folder in empty[:3]) + ", ..." * (len(empty) > 3)
    return (
        f"{names} in {empty[0].parent} {'has' if len(empty) == 1 else 'have'} no images: the other folders are "
        "numbered as classes without, so that labels differ from those of a set where it has some",
    )


def check_apart(train: Sequence[Path], heldout: Sequence[Path]) -> None:
    """Raise UserError if a real file is in both splits, by links of either kind."""
    real = dict(zip(map(_real, train), train, strict=True))
    both = [(real[place], file) for file in heldout if (place := _real(file)) in real]
    if both:
        raise UserError(
            f"{len(both):,} images are in both splits by links, {both[0][0]} and {both[0][1]} first, but held-out "
            "images are not trained on: remove the links, or give other folders as data.path=... and "
            "data.source.heldout_path=..."
        )


def _real(file: Path) -> object:
    """Return what a file has in common with its links, symbolic and hard; its path in a zip file, or if missing."""
    try:
        state = insisting(file.stat)
    except OSError:
        return file
    return state.st_dev, state.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder, in the order of names; again if a network file system fails for a moment."""

    def read() -> list[os.DirEntry[str]]:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)

    return insisting(read)


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of image files that are read, such as .png."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)

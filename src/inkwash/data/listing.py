"""List the image files of a folder, and read the labels of a dataset.json."""

import json
import os
import posixpath
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from inkwash.data.archive import Archive, archive_of
from inkwash.data.decode import FORMATS, is_image
from inkwash.data.facts import PassedOver, merged, note
from inkwash.data.unseen import unseen
from inkwash.errors import UserError
from inkwash.files import insisting

DATASET_JSON = "dataset.json"
LARGEST_CLASS = 2**24  # a larger number is no class: counting to it would take all memory
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
        if file == root / DATASET_JSON:
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


def listed_labels(root: Path, files: list[Path], top: Path) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the labels of files by dataset.json, as EDM and StyleGAN write it, and what is suspicious; None without.

    Its `labels` are pairs of a file's name and its class; null, or a file that it does not list, has no label (-1).

    Args:
        root: the folder of the files.
        top: the folder of all splits, which may hold one dataset.json for all, with names from there.

    Raises:
        UserError: it cannot be read, lists none of the files, or labels are not whole numbers.
    """
    for folder in dict.fromkeys((root, top)):
        path, archive = folder / DATASET_JSON, archive_of(folder)
        if path in archive.files if archive else path.is_file():
            break
    else:
        return None
    try:
        content = archive.read(path) if archive else path.read_bytes()
        listed = json.loads(content.decode("utf-8-sig"))["labels"]
        pairs = listed if isinstance(listed, dict) else dict(listed or [])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f'{path} does not hold {{"labels": [[FILE, CLASS], ...]}}: correct it, or move it elsewhere to take the '
            "subfolders as classes"
        ) from error
    named = {posixpath.normpath(str(name).replace("\\", "/")): label for name, label in pairs.items()}
    inside = "" if folder == root else f"{root.relative_to(folder).as_posix()}/"
    here = {name: label for name, label in named.items() if name.startswith(inside)} or named
    own = [file.relative_to(folder).as_posix() for file in files]
    return _numbers(here, own, path), _strangers(here, own, path, root)


def _numbers(pairs: Mapping[str, object], files: list[str], path: Path) -> np.ndarray:
    labels = np.full(len(files), -1, dtype=np.int64)
    for i, file in enumerate(files):
        label = pairs.get(file)
        if label is None:
            continue
        if (number := _number(label)) is None:
            name = posixpath.basename(file)
            raise UserError(f"{path}: the label of {name} is {str(label)[:40]}, not a class 0, 1, ...: correct it")
        labels[i] = number
    return labels


def _number(label: object) -> int | None:
    """Return the class that a label of dataset.json, a number or one-hot, stands for; None for what is neither."""
    if isinstance(label, list):
        hot = [i for i, value in enumerate(label) if value == 1]
        return hot[0] if len(hot) == 1 and label.count(0) == len(label) - 1 else None
    if isinstance(label, bool) or not isinstance(label, int | float) or not 0 <= label < LARGEST_CLASS:  # so is NaN
        return None
    return int(label) if label == int(label) else None


def _strangers(names: Collection[str], files: list[str], path: Path, root: Path) -> tuple[str, ...]:
    """Return a sentence for the report if dataset.json lists files that are not here.

    Raises:
        UserError: it lists no other: the labels of all images would be lost.
    """
    here = {*files}
    missing = [name for name in names if name not in here]
    if not missing:
        return ()
    if len(missing) == len(names):
        raise UserError(
            f"{path} lists {len(names):,} files, none of which is in {root} ({missing[0]} first, but "
            f"there is {files[0]}): correct the names, which count from the folder of dataset.json,"
            " or move it elsewhere to take the subfolders as classes"
        )
    return (
        f"{path} lists {len(names):,} files, {len(missing):,} of which are not in {root} "
        f"({missing[0]} first): files may be missing, or their names differ",
    )


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

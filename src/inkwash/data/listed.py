"""Labels of the files in a folder by a file that lists them: dataset.json, metadata.csv or metadata.jsonl."""

import posixpath
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkwash.data.archive import archive_of
from inkwash.data.dataset_json import DATASET_JSON, numbers, pairs_of_dataset_json
from inkwash.data.labels import Classes
from inkwash.data.metadata_file import METADATA, pairs_of_metadata, words
from inkwash.data.reading import patiently
from inkwash.errors import UserError

LISTS = (DATASET_JSON, *METADATA)
TABLES = (".csv", ".tsv", ".jsonl")  # files that may list the images, under other names


class Listed(NamedTuple):
    """Labels of files, int64 (N,), -1 for none; names of the classes, if they have any; what is suspicious."""

    labels: np.ndarray
    classes: Classes
    suspicious: tuple[str, ...]


class _List(NamedTuple):
    """A file of labels: `pairs` by names that count from its folder; `read` makes numbers of labels."""

    path: Path
    pairs: dict[str, object]
    read: Callable[[Sequence[object], Sequence[str], Path], tuple[np.ndarray, Classes]]


def listed_labels(root: Path, files: Sequence[Path], top: Path, splits: Collection[str]) -> Listed | None:
    """Return the labels of files by the file that lists them, None without one.

    A file that it does not list has no label (-1).

    Args:
        root: the folder of the files.
        top: the folder of all splits, which may hold one list for all, with names from there.
        splits: names of the other folders in `top`.

    Raises:
        UserError: it cannot be read, lists none of the files, or labels are not of classes.
    """
    found = next(filter(None, map(_list_in, dict.fromkeys((root, top)))), None)
    if found is None:
        return None
    folder = found.path.parent
    named = {posixpath.normpath(name.replace("\\", "/")): label for name, label in found.pairs.items()}
    inside = "" if folder == root else f"{root.relative_to(folder).as_posix()}/"
    here = {name: label for name, label in named.items() if name.startswith(inside)}
    own = [file.relative_to(folder).as_posix() for file in files]
    if not here and all(name.partition("/")[0] in splits for name in named):
        suspicious = (f"{found.path} lists no file of {root.name}: its images have no label",)
    else:
        here = here or named
        suspicious = _strangers(here, own, found.path, root)
    return Listed(*found.read([here.get(file) for file in own], own, found.path), suspicious)


def one_above(root: Path) -> tuple[str, ...]:
    """Return a sentence for the report if a list lies one level above the folder that is read."""
    path = next((root.parent / name for name in LISTS if (root.parent / name).is_file()), None)
    if path is None:
        return ()
    return (
        f"{path} lies above {root}, and is not read: if it has the labels, give its folder as data.path, or move it "
        f"into {root.name} and count the names in it from there",
    )


def other_tables(tables: Sequence[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """Return a sentence for the report if a table beside images without labels names some of these.

    Args:
        tables: files in the folder of the images.
        files: the images.
    """
    stems = [file.stem for file in files[:20]]
    for table in tables:
        if table.suffix.lower() not in TABLES or (content := _content(table)) is None:
            continue
        fields = {field.strip() for field in re.split(r"""[,;:\t\n"'{}\[\]]""", content)}
        if fields & {*stems, *(file.name for file in files[:20])}:
            return (
                f"{table} names the images, and is not read: if it has the labels, call it {METADATA[0]} or "
                f"{METADATA[1]}, with columns file_name and label",
            )
    return ()


def _list_in(folder: Path) -> _List | None:
    for name in LISTS:
        path = folder / name
        if (content := _bytes(path)) is None:
            continue
        if name == DATASET_JSON:
            return _List(path, pairs_of_dataset_json(content, path), numbers)
        if (pairs := pairs_of_metadata(content, path)) is not None:
            return _List(path, pairs, words)
    return None


def _bytes(path: Path) -> bytes | None:
    """Read a file in a folder or zip file; None if there is none."""
    if archive := archive_of(path.parent):
        return archive.read(path) if path in archive.files else None
    return patiently(path.read_bytes, str(path)) if path.is_file() else None


def _content(table: Path) -> str | None:
    try:
        return (_bytes(table) or b"")[:65536].decode("utf-8", "replace")
    except UserError:
        return None


def _strangers(names: Collection[str], files: Sequence[str], path: Path, root: Path) -> tuple[str, ...]:
    """Return a sentence for the report if a list has files that are not here.

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
            f"there is {files[0]}): correct the names, which count from the folder of {path.name},"
            " or move it elsewhere to take the subfolders as classes"
        )
    return (
        f"{path} lists {len(names):,} files, {len(missing):,} of which are not in {root} "
        f"({missing[0]} first): files may be missing, or their names differ",
    )

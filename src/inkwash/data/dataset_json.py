"""Labels of the files in a folder by a dataset.json, as EDM's and StyleGAN's dataset_tool.py write it."""

import json
import posixpath
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from inkwash.data.archive import archive_of
from inkwash.errors import UserError

DATASET_JSON = "dataset.json"
LARGEST_CLASS = 2**24  # a larger number is no class: counting to it would take all memory


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


def one_above(root: Path) -> tuple[str, ...]:
    """Return a sentence for the report if a dataset.json lies one level above the folder that is read."""
    path = root.parent / DATASET_JSON
    if not path.is_file():
        return ()
    return (
        f"{path} lies above {root}, and is not read: if it has the labels, give its folder as data.path, or move it "
        f"into {root.name} and count the names in it from there",
    )


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

"""Labels by a dataset.json, as EDM's and StyleGAN's dataset_tool.py write it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkwash.data.labels import Classes
from inkwash.errors import UserError

DATASET_JSON = "dataset.json"
LARGEST_CLASS = 2**24  # a larger number is no class: counting to it would take all memory


def pairs_of_dataset_json(content: bytes, path: Path) -> dict[str, object]:
    """Return the labels of a dataset.json, of any type, by the names of files.

    Raises:
        UserError: it cannot be read, or has no labels in the form of pairs.
    """
    try:
        listed = json.loads(content.decode("utf-8-sig"))["labels"]
        pairs = listed if isinstance(listed, dict) else dict(listed or [])
        if not all(isinstance(name, str) for name in pairs):
            raise TypeError("names of files are texts")
        return pairs
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f'{path} does not hold {{"labels": [[FILE, CLASS], ...]}}: correct it, or move it elsewhere to take the '
            "subfolders as classes"
        ) from error


def numbers(labels: Sequence[object], files: Sequence[str], path: Path) -> tuple[np.ndarray, Classes]:
    """Return labels of files as int64, (N,); null is -1.

    Raises:
        UserError: a label is neither a whole number nor one-hot.
    """
    found = np.full(len(files), -1, dtype=np.int64)
    for i, (file, label) in enumerate(zip(files, labels, strict=True)):
        if label is None:
            continue
        if (number := _number(label)) is None:
            name = file.rpartition("/")[2]
            raise UserError(f"{path}: the label of {name} is {str(label)[:40]}, not a class 0, 1, ...: correct it")
        found[i] = number
    return found, Classes()


def _number(label: object) -> int | None:
    """Return the class that a label of dataset.json, a number or one-hot, stands for; None for what is neither."""
    if isinstance(label, list):
        hot = [i for i, value in enumerate(label) if value == 1]
        return hot[0] if len(hot) == 1 and label.count(0) == len(label) - 1 else None
    if isinstance(label, bool) or not isinstance(label, int | float) or not 0 <= label < LARGEST_CLASS:  # so is NaN
        return None
    return int(label) if label == int(label) else None

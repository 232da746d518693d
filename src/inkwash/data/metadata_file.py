"""Labels by a metadata.csv or metadata.jsonl, as the image folders of Hugging Face `datasets` have them."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkwash.data.labels import LABELS, Classes, from_words
from inkwash.errors import UserError

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"  # the column of names, which count from the folder of the file
NUMBER = re.compile(r"(-?[0-9]{1,9})(\.0*)?")  # pandas writes 3.0 where labels are missing


def pairs_of_metadata(content: bytes, path: Path) -> dict[str, object] | None:
    """Return the labels of a metadata file by the names of files; None if it has others than labels, captions perhaps.

    The labels are those of the column `label`, or of the only one with a name like it (columns.LABELS).

    Raises:
        UserError: it has a column file_name, but cannot be read, or has several columns of labels.
    """
    if FILE_NAME.encode() not in content:
        return None
    try:
        text = content.decode("utf-8-sig")
        rows = (
            _of_csv(text) if path.suffix == ".csv" else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
        names = dict.fromkeys(name for row in rows for name in row)
        files = [str(row[FILE_NAME]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, RecursionError) as error:
        raise UserError(
            f"{path} is not a table with a column {FILE_NAME}: correct it, or move it elsewhere to take the subfolders "
            "as classes"
        ) from error
    columns = [name for name in names if str(name).lower() in LABELS]
    columns = [name for name in columns if name == "label"] or columns
    if len(columns) > 1:
        raise UserError(
            f"{path} has several columns of labels, {' and '.join(columns)}: call the one to use label, or move the "
            "file elsewhere to take the subfolders as classes"
        )
    return {file: row.get(columns[0]) for file, row in zip(files, rows, strict=True)} if columns else None


def words(labels: Sequence[object], files: Sequence[str], path: Path) -> tuple[np.ndarray, Classes]:
    """Return labels of files, int64 (N,), and classes: whole numbers as they are, else names; null and "" are -1.

    Raises:
        UserError: a label is neither, a list perhaps, or they are numbers and names.
    """
    for file, label in zip(files, labels, strict=True):
        if not isinstance(label, str | int | float | None):
            raise UserError(
                f"{path}: the label of {file} is {str(label)[:40]}, neither a number nor a name: correct it, or move "
                "the file elsewhere to take the subfolders as classes"
            )
    text = [None if label is None or label == "" else _text(label) for label in labels]
    found = [NUMBER.fullmatch(word) if word else None for word in text]
    if any(word and not number for word, number in zip(text, found, strict=True)):
        return from_words(text)
    whole = [max(-1, int(number[1])) if number else -1 for number in found]
    return np.array(whole, dtype=np.int64), Classes()


def _of_csv(text: str) -> list[dict[str, str]]:
    header = text.partition("\n")[0].rstrip("\r")
    delimiter = max(",;\t", key=header.count)
    spaced = f"{delimiter} " in header  # file_name, label: then each value has a space before it, too
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    return [*rows]


def _text(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)

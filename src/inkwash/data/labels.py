"""Class names: labels are 0, 1, ... inside; names come from folders, columns and metadata."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inkwash.errors import UserError


class Classes(NamedTuple):
    """Names of the labels 0, 1, ...; `fixed` if their order was given, and not made by sorting the names."""

    names: tuple[str, ...] = ()
    fixed: bool = False


class NoClassesError(UserError):
    """There are no labels where none were asked for by name, or they are no classes, as numbers that are not whole.

    Attributes:
        reason: why the labels are no classes; "" if there are none.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


class Part(NamedTuple):
    """A file or folder of a set, whether any of its images has a label, and its classes."""

    place: str
    labelled: bool
    classes: Classes


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sorting key by which 2 comes before 10: a number within a name counts as a number.

    Numbers are compared by how many digits they have, then by these, as Python reads none of over 4,300 digits.
    """
    parts = re.split(r"([0-9]+)", name)  # every other one is a number
    keys = [(1, 0, part) if i % 2 == 0 else _size_of(part.lstrip("0")) for i, part in enumerate(parts) if part]
    return keys, name


def _size_of(digits: str) -> tuple[int, int, str]:
    return 0, len(digits), digits


def joined(parts: Iterable[Classes]) -> Classes:
    """Return the classes of several files or splits together: in natural order, or in the order that was given."""
    parts = [part for part in parts if part.names]
    if len({part.names for part in parts}) <= 1:
        return parts[0] if parts else Classes()
    spelled = one_spelling(name for part in parts for name in part.names)
    names = tuple(dict.fromkeys(spelled.values()))
    if any(part.fixed for part in parts):
        return Classes(names, fixed=True)
    return Classes(tuple(sorted(names, key=natural)))


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """Return for each name its class: names that differ only in how accents are stored are one, stored as NFC.

    macOS stores a letter and its accent (NFD), others one letter (NFC): a set that was copied from both has folders of
    either, which look the same.
    """
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return {name: nfc if len(group) > 1 else name for nfc, group in found.items() for name in group}


def as_spelled(classes: Classes, names: Sequence[str]) -> Classes:
    """Return classes spelled like those among `names` that differ only in how accents are stored.

    The spelling of `names` stays, and with it the order of the labels of runs that were trained on them.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names} | {name: name for name in names}
    spelled = [known.get(name) or known.get(unicodedata.normalize("NFC", name), name) for name in classes.names]
    return classes._replace(names=tuple(spelled))


def check_alike(parts: Iterable[Part], classes: Classes, advice: str) -> None:
    """Refuse labels that are numbers in one part and names in another: nothing tells which name a number stands for.

    Numbers beside an order of names that was given are places in it, and beside the names 0, 1, ... they are these.

    Args:
        parts: all parts; those without any label fit all others.
        classes: those of all parts together.
        advice: what else to do, for the error.

    Raises:
        UserError: a part has numbers, and another one names.
    """
    labelled = [part for part in parts if part.labelled]
    numbers = next((part for part in labelled if not part.classes.names), None)
    names = next((part for part in labelled if part.classes.names and not part.classes.fixed), None)
    if numbers is None or names is None or classes.names == tuple(map(str, range(len(classes.names)))):
        return
    raise UserError(
        f"{numbers.place} has labels that are numbers, and {names.place} has labels that are names, such as "
        f"{names.classes.names[0]}: make them alike, or {advice}"
    )


def recoded(labels: np.ndarray, classes: Classes, into: Classes) -> np.ndarray:
    """Return labels, int64 (N,), of `classes` as labels of `into`, which has all their names; -1 stays."""
    if classes.names == into.names[: len(classes.names)]:
        return labels
    position = {name: label for label, name in enumerate(into.names)}
    spelled = [name if name in position else unicodedata.normalize("NFC", name) for name in classes.names]
    table = np.array([*(position[name] for name in spelled), -1])  # the last one is that of -1
    return table[labels]


def from_words(words: Sequence[str | None]) -> tuple[np.ndarray, Classes]:
    """Return labels and classes of words, one for each image; None has no label."""
    spelled = one_spelling(word for word in words if word is not None)
    names = tuple(sorted({*spelled.values()}, key=natural))
    label = {name: number for number, name in enumerate(names)}
    position: dict[str | None, int] = {word: label[name] for word, name in spelled.items()}
    return np.array([position.get(word, -1) for word in words], dtype=np.int64), Classes(names)


def from_column(column: pa.ChunkedArray, names: Sequence[str], place: str) -> tuple[np.ndarray, Classes]:
    """Return labels and classes of a column of integers, whole floats, booleans, strings, or a dictionary of them.

    Args:
        names: of integers, from the file's metadata; () for none.
        place: the column's name in errors.

    Raises:
        UserError: the values are no labels.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_bytes(column.type):  # text, as some databases write it
        try:
            column = column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise _unusable(place, "holds bytes that are no text") from error
    kind = column.type
    if pa.types.is_boolean(kind):
        return _integers(column.cast(pa.int8())), Classes(("false", "true"), fixed=True)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        return from_words(column.to_pylist())
    if pa.types.is_floating(kind):  # as pandas stores integers with missing values
        column = pa.chunked_array([pa.array(column.to_numpy(), from_pandas=True)], kind)  # NaN becomes null
    elif not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        raise _unusable(place, f"holds {kind}")
    try:
        labels = _integers(column)
    except pa.ArrowInvalid as error:
        raise _unusable(place, "holds numbers that are not whole, or too large") from error
    if names and labels.size and labels.max() >= len(names):
        raise UserError(_refusal(place, f"has a label {labels.max()}, but the metadata name {len(names)} classes"))
    return labels, Classes(tuple(names), fixed=True)


def is_label(kind: pa.DataType) -> bool:
    """Tell whether `from_column` reads columns of a type."""
    if pa.types.is_dictionary(kind):
        return is_label(kind.value_type)
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or is_bytes(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
        or str(kind) == "string_view"
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column holds bytes of any length."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or str(kind) == "binary_view"


def names_in_metadata(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names of a ClassLabel column that Hugging Face `datasets` stored in a schema; () without any."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    # Missing labels and those below zero, as Hugging Face writes them, are -1.
    whole = pc.fill_null(column.cast(pa.int64()), -1).to_numpy()
    return np.maximum(whole, -1)


def _unusable(place: str, reason: str) -> NoClassesError:
    return NoClassesError(_refusal(place, reason), f"the column {place} {reason}")


def _refusal(place: str, reason: str) -> str:
    return (
        f"data.source.label_column={place} {reason}: name a column of numbers or names, or null for images without "
        "labels"
    )

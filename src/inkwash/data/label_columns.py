"""Labels in a column of an Arrow table.

Apart from the rest about labels: pyarrow takes 30 MiB, which a training on other data does without.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inkwash.data.labels import Classes, NoClassesError, from_words
from inkwash.errors import UserError


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

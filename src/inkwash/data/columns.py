"""Columns of a Parquet file that hold images and labels, whatever wrote it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inkwash.data.arrays import file_of, file_of_text
from inkwash.data.arrow_files import ArrowFile, Group, Metadata
from inkwash.data.label_columns import is_bytes, is_label, names_in_metadata
from inkwash.data.labels import LABELS, NoClassesError
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError

# Names of columns of text that are paths of image files, in lower case; of other such columns it must be said.
PATHS = (
    "image", "img", "image_path", "img_path", "path", "file", "filename", "file_name", "filepath", "file_path",
    "image_file", "picture", "photo",
)  # fmt: skip
PAYLOADS = ("bytes", "data", "content", "image", "img", "png", "jpg", "jpeg")  # fields of a struct that hold a file
SHORTEST = 64  # bytes of fixed size that may be an image; what is shorter is a checksum or a key
ADDRESS = re.compile(r"[a-z0-9+.-]+::?//", re.IGNORECASE)
BYTES_AT_ONCE = 2**26  # of images that are decompressed together


def columns_of(
    file: Path, schema: pa.Schema, image_column: str | None, label_column: str | None
) -> tuple[str, str | None]:
    """Return the names of the columns of images and labels.

    Args:
        file: named in errors; a folder label=VALUE above it is a column too, as pandas, Polars and DuckDB write them.
        schema: its columns.
        image_column: null for the only column of images, found by its type.
        label_column: null for none; `label` also for the only column with a name like it (LABELS), else for the only
            ClassLabel of `datasets`.

    Raises:
        UserError: there is no such column, or there are several.
    """
    label = None if label_column is None else _label_of(file, schema, label_column)
    images = [field.name for field in schema if holds_images(field.type) and field.name != label]
    if not images:
        images = [f.name for f in schema if _is_text(f.type) and f.name.lower() in PATHS and f.name != label]
    if image_column is None and len(images) != 1:
        raise UserError(f"{file} has {_not_one(schema, images)}")
    image = image_column or images[0]
    if image not in images and not (image in schema.names and _holds_if_named(schema.field(image).type)):
        raise UserError(
            f"data.source.image_column={image} is not one of the columns of images in {file}, which are {images}"
        )
    return image, label


def columns_like(
    first: tuple[str, str | None], file: Path, schema: pa.Schema, image_column: str | None, label_column: str | None
) -> tuple[str, str | None]:
    """Return the names of the columns of a file among others: those of the first file, where it has them.

    Args:
        first: the columns of the first file, by `columns_of`.
        file, schema, image_column, label_column: see columns_of.
    """
    image, label = first
    wanted = image if image in schema.names else image_column, label if label in schema.names else label_column
    return columns_of(file, schema, *wanted)


def holds_images(kind: pa.DataType) -> bool:
    """Tell whether a column may hold images: files in bytes or lists of them, structs with such a field or a path."""
    if pa.types.is_dictionary(kind):
        return holds_images(kind.value_type)
    if pa.types.is_struct(kind):
        return payload_of(kind) is not None or path_of(kind) is not None
    if pa.types.is_fixed_size_binary(kind):
        return kind.byte_width >= SHORTEST
    return is_bytes(kind) or _is_array(kind)


def payload_of(kind: pa.StructType) -> str | None:
    """Return the field of a struct that holds files: bytes, in `datasets`; None without one."""
    fields = {field.name: field.type for field in kind}
    names = [name for name, inner in fields.items() if is_bytes(inner) or _is_array(inner)]
    return next((name for name in PAYLOADS if name in names), names[0] if len(names) == 1 else None)


def path_of(kind: pa.StructType) -> str | None:
    """Return the field of a struct that holds the path of a file; None without one."""
    return next((field.name for field in kind if field.name == "path" and _is_text(field.type)), None)


def images_of(column: pa.Array | pa.ChunkedArray, folder: Path, rendering: Rendering) -> Iterator[bytes | Path]:
    """Yield the encoded images of a column; b"", which cannot be decoded, where there is none.

    Args:
        folder: that paths are relative to.
        rendering: has the range of arrays of pixels.
    """
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        yield from (_encoded(value, folder, rendering) for value in _values(plain))


def partition_of(file: Path, name: str) -> str | None:
    """Return the value of a column that folders stand for: cat of label=cat/0.parquet; None without such a folder."""
    found = [part.partition("=")[2] for part in file.parent.parts if part.startswith(f"{name}=")]
    return unquote(found[-1]) if found else None


def names_files(shard: pq.ParquetFile | ArrowFile, image: str) -> bool:
    """Tell whether a column names files: paths, or structs of which some have a path and no bytes."""
    kind = shard.schema_arrow.field(image).type
    if not pa.types.is_struct(kind):
        return not holds_images(kind)
    payload = payload_of(kind)
    if payload is None or path_of(kind) is None:
        return payload is None
    groups = (shard.metadata.row_group(i) for i in range(shard.metadata.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    found = [column.statistics for column in columns if column.path_in_schema.startswith(f"{image}.{payload}")]
    return any(statistics is not None and statistics.null_count for statistics in found)


def rows_at_once(metadata: pq.FileMetaData | Metadata, image: str) -> int:
    """Return how many rows to read together: pyarrow cannot read 2 GB of nested values at once."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    largest = max((bytes_of(group, image) / max(1, group.num_rows) for group in groups), default=1)
    return int(min(1024, max(1, BYTES_AT_ONCE // max(1, largest))))


def bytes_of(group: pq.RowGroupMetaData | Group, image: str) -> int:
    """Return the size of the images of a row group."""
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in columns if f"{c.path_in_schema}.".startswith(f"{image}."))


def _label_of(file: Path, schema: pa.Schema, wanted: str) -> str:
    fields = {field.name: field.type for field in schema}
    if wanted in fields and is_label(fields[wanted]):
        return wanted
    if wanted not in fields and partition_of(file, wanted) is not None:
        return wanted
    others = [name for name, kind in fields.items() if is_label(kind) and not is_bytes(kind)]
    others = [] if wanted != "label" or wanted in fields else others
    alike = [name for name in others if name.lower() in LABELS]
    alike = alike or [name for name in others if names_in_metadata(schema, name)]
    if len(alike) == 1:
        return alike[0]
    message = (
        f"data.source.label_column={wanted} is not a column of numbers or names in {file}, which has {schema.names}: "
        f"name another one{', ' + ' or '.join(alike) if alike else ''}, or null for images without labels"
    )
    if alike:
        raise UserError(message)
    reason = f"the column {wanted} holds {fields[wanted]}" if wanted in fields else ""
    if others:
        reason = f"no column is called {wanted}; data.source.label_column={others[0]} takes that one"
    raise NoClassesError(message, reason)


def _not_one(schema: pa.Schema, images: list[str]) -> str:
    """Return the rest of a sentence about a file that has no column of images, or several."""
    names = f"{', '.join(schema.names[:10])}{', ...' * (len(schema.names) > 10)}"
    if images:
        return f"{len(images)} columns of images, {', '.join(images)}: name one with data.source.image_column=..."
    floats = [field.name for field in schema if _is_array(field.type, pa.types.is_floating)]
    if floats:
        return (
            f"no column of images among {names}, but arrays of floats, {', '.join(floats)}: if they are images, name "
            f"them and the levels that become 0 and 255, data.source.image_column={floats[0]} data.source.black=... "
            "data.source.white=..."
        )
    lists = [field.name for field in schema if _is_list(field.type) and holds_images(field.type.value_type)]
    if lists:
        return f"lists of images in the column {lists[0]}: store one image a row"
    return (
        f"no column of images among {names}, as files in bytes, paths or arrays of pixels are: name a column of paths "
        "with data.source.image_column=..., or store the images in one column"
    )


def _holds_if_named(kind: pa.DataType) -> bool:
    """Tell whether a column may hold images that does not look like it: paths under any name, arrays of floats."""
    return _is_text(kind) or _is_array(kind, pa.types.is_floating)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _is_array(kind: pa.DataType, of_numbers: Callable[[pa.DataType], bool] = pa.types.is_integer) -> bool:
    """Tell whether a column holds lists of bytes (files), or arrays of pixels: (H, W), (H, W, C) or (C, H, W)."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_array(kind.storage_type, of_numbers)
    if not _is_list(kind):
        return False
    inner = kind.value_type
    if _is_list(inner):
        return of_numbers(inner.value_type.value_type if _is_list(inner.value_type) else inner.value_type)
    return pa.types.is_uint8(inner) and of_numbers(inner)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _values(chunk: pa.Array) -> Iterator[object]:
    """Yield plain values: files in bytes, paths in str, arrays, None."""
    kind = chunk.type
    if isinstance(kind, pa.BaseExtensionType):
        shape, order = (getattr(kind, name, None) for name in ("shape", "permutation"))  # of fixed_shape_tensor
        values = chunk.storage.to_pylist()
        yield from (v if v is None or shape is None else np.reshape(v, shape).transpose(order) for v in values)
    elif pa.types.is_struct(kind):
        payload, path = payload_of(kind), path_of(kind)
        for value in chunk.to_pylist():
            content = value and payload and value[payload]
            yield content if content else value and path and value[path]
    else:
        yield from chunk.to_pylist()


def _encoded(value: object, folder: Path, rendering: Rendering) -> bytes | Path:
    if not isinstance(value, str):
        return value if isinstance(value, bytes) else file_of(value, rendering)
    if (content := file_of_text(value)) is not None:
        return content
    if ADDRESS.match(value):
        raise UserError(
            f"{folder} has images that are addresses, {value[:100]} first: fetch them, and store paths or the files"
        )
    return folder / value if value else b""

"""Source of Parquet files in the Hugging Face layout: a column of struct<bytes, path>, integer labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from inkwash.data.encoded import EncodedSource, Entries, Entry, absolute, place_of, rows_of, version_of
from inkwash.data.paths import find_files
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError

SUFFIXES = (".parquet", ".pq", ".parq")
# Exceptions of pyarrow for damaged files.
DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, KeyError)


class Parquet(EncodedSource):
    """Images in Parquet files: `data.path` is one file, a folder of shards or a quoted glob ("folder/train-*.parquet").

    Args:
        heldout_path: file, folder or glob of the held-out images; null to split `data.path`.
        heldout_fraction: fraction of the rows held out if there is no heldout_path, the same ones for every seed.
        image_column: column of images; null for the only one, found by its type.
        label_column: a column of integers; null for images without labels.
        resize, skip_corrupt, cache_dir: see EncodedSource.
        black, white, background: see Rendering.
    """

    def __init__(
        self,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        image_column: str | None = None,
        label_column: str | None = "label",
        resize: bool = False,
        skip_corrupt: bool = False,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        super().__init__(resize, skip_corrupt, cache_dir, Rendering(black, white, background))
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.image_column = image_column
        self.label_column = label_column

    def find(self, split: str, path: Path) -> Entries:
        """Find the rows of a split; both splits are parts of `path` unless there is a heldout_path."""
        path, key = place_of(split, path, self.heldout_path)
        shards = [open_parquet(file) for file in find_files(path, SUFFIXES, key)]
        image, label = columns_of(shards[0][0], shards[0][1].schema_arrow, self.image_column, self.label_column)
        for file, shard in shards[1:]:
            columns_of(file, shard.schema_arrow, image, label)
        count = sum(shard.metadata.num_rows for _, shard in shards)
        if not 0 <= count <= sum(file.stat().st_size for file, _ in shards):  # an image takes at least a byte
            raise UserError(f"{path} is damaged: it declares {count} rows, more than fit in its bytes: fetch it again")
        wanted = torch.ones(count, dtype=torch.bool)
        if not self.heldout_path:
            wanted = rows_of(split, count, self.heldout_fraction)
        version = ([version_of(file) for file, _ in shards], image, label, wanted.sum().item(), split)
        return Entries(version, int(wanted.sum()), _rows(shards, image, label, wanted))


def columns_of(
    file: Path, schema: pa.Schema, image_column: str | None, label_column: str | None
) -> tuple[str, str | None]:
    """Return the names of the columns of images and labels; image_column=None finds it by its type.

    Raises:
        UserError: there is no such column, or there are several.
    """
    images = [field.name for field in schema if _holds_images(field.type)]
    if image_column is None and len(images) != 1:
        raise UserError(
            f"{file} has {len(images)} columns of images among {schema.names}: "
            "name the one to use with data.source.image_column=..."
        )
    image = image_column or images[0]
    if image not in images:
        raise UserError(
            f"data.source.image_column={image} is not one of the columns of images in {file}, which are {images}"
        )
    label = label_column
    if label is not None and (label not in schema.names or not pa.types.is_integer(schema.field(label).type)):
        raise UserError(
            f"data.source.label_column={label} is not a column of integers in {file}, which has {schema.names}: "
            "name another one, or null for images without labels"
        )
    return image, label


def open_parquet(file: Path) -> tuple[Path, pq.ParquetFile]:
    """Open a Parquet file; return its path and the file. Raises UserError if it is not one."""
    try:
        opened = pq.ParquetFile(file)
        _ = opened.schema_arrow  # is read only now
        return file, opened
    except DAMAGE as error:
        raise UserError(f"{file} cannot be read as a Parquet file: give another one, or fetch it again") from error


def _holds_images(kind: pa.DataType) -> bool:
    """Return True for struct<bytes, ...>, as Hugging Face writes images, and for binary."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_images(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _rows(shards: list[tuple[Path, pq.ParquetFile]], image: str, label: str | None, wanted: Tensor) -> Iterator[Entry]:
    """Yield the wanted rows of all shards, in order; a missing image becomes b"", which cannot be decoded."""
    rows = iter(wanted.tolist())
    for file, shard in shards:
        row = 0
        try:
            for batch in shard.iter_batches(1024, columns=[image] if label is None else [image, label]):
                values = batch.column(image).to_pylist()
                labels = [None] * len(values) if label is None else batch.column(label).to_pylist()
                for value, number in zip(values, labels, strict=True):
                    if next(rows, False):
                        encoded = value["bytes"] if isinstance(value, dict) else value
                        yield Entry(f"row {row} of {file}", encoded or b"", -1 if number is None else number)
                    row += 1
        except DAMAGE as error:
            raise UserError(f"{file} is damaged at row {row} or after it: fetch it again") from error

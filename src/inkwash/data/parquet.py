"""Source of Parquet files in the Hugging Face layout: a column of struct<bytes, path>, integer labels."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from inkwash.data.encoded import EncodedSource, Entries, Entry, absolute, version_of
from inkwash.data.labels import Classes, from_column, is_label, joined, names_in_metadata, recoded
from inkwash.data.rendering import Rendering
from inkwash.data.splits import AUTO, check_splits, divide_files, rows_of
from inkwash.errors import UserError

SUFFIXES = (".parquet", ".pq", ".parq")
# Exceptions of pyarrow for damaged files.
DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, KeyError)


class Parquet(EncodedSource):
    """Images in Parquet files: `data.path` is one file, a folder of shards or a quoted glob ("folder/train-*.parquet").

    Args:
        heldout_path: file, folder or glob of the held-out images; null for the test files in `data.path`, told by
            their names, or a part of it.
        heldout_fraction: fraction of the rows held out if no files are, the same ones for every seed; 0 for none.
        splits: auto tells files for training and testing apart by their names (splits.py); none takes all as one set.
        stratified: hold out the same fraction of each class; false draws from all rows together.
        image_column: column of images; null for the only one, found by its type.
        label_column: a column of numbers or names; null for images without labels.
        resize, skip_corrupt, cache_dir: see EncodedSource.
        black, white, background: see Rendering.
    """

    def __init__(
        self,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        splits: str = AUTO,
        stratified: bool = True,
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
        check_splits(splits, heldout_fraction)
        self.splits = splits
        self.stratified = stratified
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.image_column = image_column
        self.label_column = label_column

    def find(self, split: str, path: Path) -> Entries:
        """Find the rows of a split; both splits are parts of the same files unless there are files of their own."""
        division = divide_files(path, self.heldout_path, SUFFIXES, self.splits)
        places = {"train": division.train, "heldout": division.heldout or division.train}
        opened = {name: [open_parquet(file) for file in files] for name, files in places.items()}
        image, label = self._columns([*opened["train"], *opened["heldout"]])
        parts = {name: _labels(shards, label) for name, shards in opened.items()}
        classes = joined(part[1] for part in parts.values())
        labels = torch.from_numpy(recoded(*parts[split], classes))
        wanted, shards = torch.ones(len(labels), dtype=torch.bool), opened[split]
        if division.heldout is None:
            wanted = rows_of(split, labels, self.heldout_fraction, self.stratified)
        names = (file.name for file, _ in shards)
        facts = division.facts(split, classes, int(wanted.sum()), len(labels), names, {})
        version = ([version_of(file) for file, _ in shards], image, label, wanted.sum().item(), split, _hash(labels))
        stream = _rows(shards, image, wanted, labels)
        return Entries(version, int(wanted.sum()), stream, facts)

    def _columns(self, shards: list[tuple[Path, pq.ParquetFile]]) -> tuple[str, str | None]:
        """Return the columns of images and labels, the same ones in all files."""
        image, label = columns_of(shards[0][0], shards[0][1].schema_arrow, self.image_column, self.label_column)
        for file, shard in shards[1:]:
            columns_of(file, shard.schema_arrow, image, label)
        return image, label


def labels_of(file: Path, shard: pq.ParquetFile, label: str | None) -> tuple[np.ndarray, Classes]:
    """Return the labels of a file's rows, int64, -1 where there is none, and their classes.

    Raises:
        UserError: the file is damaged, or the values are no labels.
    """
    rows = shard.metadata.num_rows
    if not 0 <= rows <= file.stat().st_size:  # an image takes at least a byte
        raise UserError(f"{file} is damaged: it declares {rows} rows, more than fit in its bytes: fetch it again")
    if label is None:
        return np.full(rows, -1), Classes()
    try:
        column = shard.read([label], use_threads=False).column(0)
    except DAMAGE as error:
        raise UserError(f"the column {label} of {file} cannot be read: fetch the file again") from error
    return from_column(column, names_in_metadata(shard.schema_arrow, label), f"{label} in {file}")


def _labels(shards: list[tuple[Path, pq.ParquetFile]], label: str | None) -> tuple[np.ndarray, Classes]:
    """Return the labels of all rows of some files, and the classes of all."""
    parts = [labels_of(file, shard, label) for file, shard in shards]
    classes = joined(part[1] for part in parts)
    return np.concatenate([recoded(*part, classes) for part in parts]), classes


def _hash(labels: Tensor) -> str:
    return hashlib.sha256(labels.numpy().tobytes()).hexdigest()


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
    if label is not None and (label not in schema.names or not is_label(schema.field(label).type)):
        raise UserError(
            f"data.source.label_column={label} is not a column of numbers or names in {file}, which has "
            f"{schema.names}: name another one, or null for images without labels"
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


def _rows(shards: list[tuple[Path, pq.ParquetFile]], image: str, wanted: Tensor, labels: Tensor) -> Iterator[Entry]:
    """Yield the wanted rows of all shards, in order; a missing image becomes b"", which cannot be decoded."""
    rows = zip(wanted.tolist(), labels.tolist(), strict=True)
    for file, shard in shards:
        row = 0
        try:
            for batch in shard.iter_batches(1024, columns=[image]):
                for value in batch.column(image).to_pylist():
                    chosen, label = next(rows, (False, -1))
                    if chosen:
                        encoded = value["bytes"] if isinstance(value, dict) else value
                        yield Entry(f"row {row} of {file}", encoded or b"", label)
                    row += 1
        except DAMAGE as error:
            raise UserError(f"{file} is damaged at row {row} or after it: fetch it again") from error

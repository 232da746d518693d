"""Open Parquet and Arrow files, and read labels and images from them; errors of disks and networks are no damage."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inkwash.data.arrow_files import SUFFIX, ArrowFile
from inkwash.data.columns import images_of, partition_of, rows_at_once
from inkwash.data.label_columns import from_column, names_in_metadata
from inkwash.data.labels import Classes, from_words
from inkwash.data.reading import BEGINNING, patiently, stranger
from inkwash.data.rendering import Rendering
from inkwash.data.splits import COLUMNS, SPLIT_OF
from inkwash.errors import UserError

Opened = pq.ParquetFile | ArrowFile

DIGITS = 18  # of a number that int64 holds whatever the digits
# Exceptions of pyarrow for damaged files.
DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)


@contextmanager
def opened(file: Path) -> Iterator[Opened]:
    """Open a Parquet file, and close it again. Raises UserError if it is not one."""
    shard = open_parquet(file)
    try:
        yield shard
    finally:
        shard.close()


def open_parquet(file: Path) -> Opened:
    """Open a Parquet file, or an Arrow file by its name. Raises UserError if it is not one."""
    try:
        return patiently(lambda: _opened(file), str(file))
    except DAMAGE as error:
        kind = "an Arrow file" if file.suffix == SUFFIX else "a Parquet file"
        with contextlib.suppress(OSError), open(file, "rb") as stream:
            if known := stranger(stream.read(BEGINNING), expected=kind):
                raise UserError(f"{file} cannot be read as {kind}: it is {known[0]}; {known[1]}") from error
        raise UserError(f"{file} cannot be read as {kind}: give another one, or fetch it again") from error


def _opened(file: Path) -> Opened:
    if file.suffix == SUFFIX:
        return ArrowFile(file)
    shard = pq.ParquetFile(file)
    _ = shard.schema_arrow  # is read only now
    return shard


def labels_of(file: Path, shard: Opened, label: str | None) -> tuple[np.ndarray, Classes]:
    """Return the labels of a file's rows, int64, -1 where there is none, and their classes.

    Raises:
        UserError: the file is damaged, or the values are no labels.
    """
    rows = shard.metadata.num_rows
    if not 0 <= rows <= file.stat().st_size:  # an image takes at least a byte
        raise UserError(f"{file} is damaged: it declares {rows} rows, more than fit in its bytes: fetch it again")
    if label is None:
        return np.full(rows, -1), Classes()
    if label not in shard.schema_arrow.names:
        return _of_partition(file, label, rows)
    try:
        column = patiently(lambda: shard.read([label], use_threads=False).column(0), f"the column {label} of {file}")
    except DAMAGE as error:
        raise UserError(f"the column {label} of {file} cannot be read: fetch the file again") from error
    return from_column(column, names_in_metadata(shard.schema_arrow, label), f"{label} in {file}")


def _of_partition(file: Path, label: str, rows: int) -> tuple[np.ndarray, Classes]:
    """Return the labels of a file in a folder label=VALUE."""
    value = partition_of(file, label)
    assert value is not None  # `columns_of` names no column that a file does not have
    if not value.isdecimal():
        return from_words([None if value == "__HIVE_DEFAULT_PARTITION__" else value] * rows)
    if len(value) > DIGITS:
        raise UserError(f"the folder {label}={value} of {file.name} is too large a number for a label: rename it")
    return np.full(rows, int(value)), Classes()


def told_by_a_column(files: Sequence[Path]) -> tuple[str, ...]:
    """Return a sentence for the report if a column tells different splits of the rows of files that are one set.

    Only the footers are read, which hold the smallest and the largest value of a column.
    """
    told: dict[str, str] = {}
    for file in files:
        with opened(file) as shard:
            for column, value in _extremes(shard):
                if split := SPLIT_OF.get(value.lower()):
                    told.setdefault(split, f"{column}={value} in {file.name}")
    if len(told) < 2:
        return ()
    return (
        f"rows are of several splits, {' and '.join(told.values())}, but all are taken as one set: images to test with "
        "may be trained on; write the rows of each split to a file of its own, train.parquet and test.parquet",
    )


def _extremes(shard: Opened) -> Iterator[tuple[str, str]]:
    """Yield (column, value) for the smallest and the largest values of columns named like splits, by row groups."""
    names = [name for name in shard.schema_arrow.names if name.lower() in COLUMNS]
    for number in range(shard.metadata.num_row_groups if names else 0):
        group = shard.metadata.row_group(number)
        for column in (group.column(i) for i in range(group.num_columns)):
            found = column.statistics if column.path_in_schema in names else None
            if found is not None and found.has_min_max:
                yield from ((column.path_in_schema, str(value)) for value in (found.min, found.max))


def images_in(file: Path, image: str, rendering: Rendering) -> Iterator[bytes | Path]:
    """Yield the images of all rows; a missing one becomes b"", which cannot be decoded."""
    row, batches = 0, _Batches(file, image)
    try:
        while (batch := patiently(batches.next, str(file))) is not None:
            for encoded in images_of(batch.column(0), file.parent, rendering):
                yield encoded
                row += 1
    except DAMAGE as error:
        raise UserError(f"{file} is damaged at row {row} or after it: fetch it again") from error
    finally:
        batches.close()


class _Batches:
    """The batches of a column. After an error `next` opens the file again and goes on with the same batch."""

    def __init__(self, file: Path, image: str):
        self.file, self.image = file, image
        self.shard: Opened | None = None
        self.batches: Iterator[pa.RecordBatch] = iter(())
        self.done = 0

    def next(self) -> pa.RecordBatch | None:
        try:
            if self.shard is None:
                self.shard = _opened(self.file)
                rows = rows_at_once(self.shard.metadata, self.image)
                self.batches = self.shard.iter_batches(rows, columns=[self.image], use_threads=False)
                for _ in range(self.done):
                    next(self.batches)
            batch = next(self.batches, None)
        except BaseException:
            self.close()
            raise
        self.done += 1
        return batch

    def close(self) -> None:
        if self.shard is not None:
            self.shard.close()
        self.shard = None

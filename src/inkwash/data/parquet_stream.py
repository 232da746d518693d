"""Source of Parquet files of any number and size, read by row groups."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from inkwash.data.parquet import DAMAGE, SUFFIXES, columns_of, labels_of, open_parquet
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.splits import AUTO
from inkwash.data.streamed import StreamedSource
from inkwash.errors import UserError


class ParquetStream(StreamedSource):
    """The files, columns and split of `Parquet`, streamed; a row group is a block.

    A row group is read whole, so its size decides how much memory is needed: about 1000 images are a good size.

    Args:
        image_column: column of images; null for the only one, found by its type.
        label_column: a column of numbers or names; null for images without labels.
        heldout_path, heldout_fraction, splits, stratified, resize, skip_corrupt, window, cache_dir: see
            StreamedSource.
        black, white, background: see Rendering.
    """

    suffixes = SUFFIXES

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
        window: int = 8192,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        super().__init__(
            heldout_path, heldout_fraction, splits, stratified, resize, skip_corrupt, window, cache_dir,
            Rendering(black, white, background),
        )  # fmt: skip
        self.image_column, self.label_column = image_column, label_column

    def options(self) -> tuple[str | None, ...]:
        return self.image_column, self.label_column

    def scan(self, file: Path) -> Scanned:
        """Read row groups and labels; of the images only their sizes in the footer."""
        shard = open_parquet(file)[1]
        metadata = shard.metadata
        image, label = columns_of(file, shard.schema_arrow, self.image_column, self.label_column)
        labels, classes = labels_of(file, shard, label)
        try:
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            blocks = [(i, group.num_rows, _bytes(group, image)) for i, group in enumerate(groups) if group.num_rows]
        except DAMAGE as error:
            raise _damaged(f"the row groups of {file}") from error
        if sum(rows for _, rows, _ in blocks) != len(labels) or min((rows for _, rows, _ in blocks), default=1) < 0:
            raise _damaged(f"{file}, whose row groups do not add up,")
        digest = _digest(file, metadata.serialized_size)
        return Scanned(np.array(blocks).reshape(-1, 3), labels[:, None], digest, classes)

    def shards(self, files: Sequence[Path], index: Index) -> "ParquetShards":
        return ParquetShards(files, index, self.image_column, self.label_column)


class ParquetShards(Shards):
    """Row groups of Parquet files with their index."""

    def __init__(self, files: Sequence[Path], index: Index, image_column: str | None, label_column: str | None):
        super().__init__(files, index)
        self.columns = image_column, label_column

    def read(self, block: int) -> list[bytes]:
        """Read the images of a row group; a missing one becomes b"", which cannot be decoded."""
        file, group = self.file(block), int(self.index.blocks[block, 1])
        try:
            state = file.stat()
            shard = _opened(file, state.st_size, state.st_mtime_ns)
            image = columns_of(file, shard.schema_arrow, *self.columns)[0]
            # Threads of a pool would not survive the fork into a reader's process.
            table = shard.read_row_group(group, [image], use_threads=False).flatten()
        except DAMAGE as error:
            raise _damaged(f"row group {group} of {file}") from error
        encoded = table[f"{image}.bytes" if f"{image}.bytes" in table.column_names else image]
        if len(encoded) != self.firsts[block + 1] - self.firsts[block]:
            raise UserError(f"{file} was replaced after the job began: start the job again")
        return [value or b"" for value in encoded.to_pylist()]

    def name(self, number: int) -> str:
        """Return "row R of FILE", as `Parquet` names it."""
        file = self.index.blocks[self.block_of(number), 0]
        first = np.searchsorted(self.index.blocks[:, 0], file)
        return f"row {number - self.firsts[first]} of {self.files[file]}"


@lru_cache(16)
def _opened(file: Path, *_version: int) -> pq.ParquetFile:
    """Open a file; the last few stay open, because a footer may take as long to read as a row group."""
    return open_parquet(file)[1]


def _bytes(group: pq.RowGroupMetaData, image: str) -> int:
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == image)


def _digest(file: Path, footer: int) -> str:
    """Hash the file's size and footer, which holds types, sizes, offsets and ranges of all columns."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        stream.seek(-min(size, footer + 8), 2)
        return hashlib.sha256(str(size).encode() + stream.read()).hexdigest()


def _damaged(what: str) -> UserError:
    return UserError(f"{what} cannot be read: fetch the file again")

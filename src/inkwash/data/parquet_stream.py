"""Source of Parquet files of any number and size, read by row groups."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from inkwash.data.columns import bytes_of, columns_like, columns_of, images_of, rows_at_once
from inkwash.data.parquet import SUFFIXES, WITHOUT_LABELS
from inkwash.data.parquet_files import DAMAGE, Opened, labels_of, open_parquet, opened, told_by_a_column
from inkwash.data.reading import content_of, missing, named_file, patiently
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.splits import AUTO
from inkwash.data.streamed import StreamedSource
from inkwash.errors import UserError


class ParquetStream(StreamedSource):
    """The files, columns and split of `Parquet`, streamed; a row group is a block.

    A row group is read whole, so its size decides how much memory is needed: about 1000 images are a good size.

    Image files that rows name are read when they are used, and not looked at before, as there may be any number of
    them: that one was replaced is noticed neither by a resume nor by an evaluation, unlike with `Parquet`.

    Args:
        image_column, label_column: see Parquet.
        heldout_path, heldout_fraction, splits, stratified, resize, skip_corrupt, window, cache_dir: see
            StreamedSource.
        black, white, background: see Rendering.
    """

    suffixes = SUFFIXES
    without_labels = WITHOUT_LABELS

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

    def told_by(self, first: Path) -> tuple[str, str | None]:
        """Return the columns of images and labels of the first file, which those of all others are too."""
        with opened(first) as shard:
            return columns_of(first, shard.schema_arrow, self.image_column, self.label_column)

    def scan(self, file: Path, told: tuple[str, str | None]) -> Scanned:
        """Read row groups and labels; of the images only their sizes in the footer."""
        with opened(file) as shard:
            metadata = shard.metadata
            image, label = columns_like(told, file, shard.schema_arrow, self.image_column, self.label_column)
            labels, classes = labels_of(file, shard, label)
            try:
                groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
                blocks = [(i, group.num_rows, bytes_of(group, image)) for i, group in enumerate(groups)]
            except DAMAGE as error:
                raise _damaged(f"the row groups of {file}") from error
        blocks = [block for block in blocks if block[1]]
        if sum(rows for _, rows, _ in blocks) != len(labels) or min((rows for _, rows, _ in blocks), default=1) < 0:
            raise _damaged(f"{file}, whose row groups do not add up,")
        digest = patiently(lambda: _digest(file, metadata.serialized_size), str(file))
        return Scanned(np.array(blocks).reshape(-1, 3), labels[:, None], digest, classes)

    def suspicions(self, files: Sequence[Path]) -> tuple[str, ...]:
        return told_by_a_column(files)

    def shards(self, files: Sequence[Path], index: Index, told: tuple[str, str | None]) -> "ParquetShards":
        return ParquetShards(files, index, told, (self.image_column, self.label_column), self.rendering)


class ParquetShards(Shards):
    """Row groups of Parquet files with their index.

    Args:
        first: the columns of the first file.
        columns: image_column and label_column.
    """

    def __init__(
        self,
        files: Sequence[Path],
        index: Index,
        first: tuple[str, str | None],
        columns: tuple[str | None, str | None],
        rendering: Rendering,
    ):
        super().__init__(files, index)
        self.first, self.columns, self.rendering = first, columns, rendering

    def read(self, block: int) -> list[bytes]:
        """Read the images of a row group; a missing one becomes b"", which cannot be decoded."""
        file, group = self.file(block), int(self.index.blocks[block, 1])
        name = f"row group {group} of {file}"
        try:
            encoded = patiently(lambda: self._images(file, group), name)
        except DAMAGE as error:
            raise _damaged(name) from error
        if len(encoded) != self.firsts[block + 1] - self.firsts[block]:
            raise UserError(f"{file} was replaced after the job began: start the job again")
        return [_content(image, name) for image in encoded]

    def _images(self, file: Path, group: int) -> list[bytes | Path]:
        state = file.stat()
        shard = _opened(file, state.st_size, state.st_mtime_ns)
        image = columns_like(self.first, file, shard.schema_arrow, *self.columns)[0]
        rows = rows_at_once(shard.metadata, image)
        # Threads of a pool would not survive the fork into a reader's process.
        batches = shard.iter_batches(rows, [group], [image], use_threads=False)
        return [image for batch in batches for image in images_of(batch.column(0), file.parent, self.rendering)]

    def name(self, number: int) -> str:
        """Return "row R of FILE", as `Parquet` names it."""
        file = self.index.blocks[self.block_of(number), 0]
        first = np.searchsorted(self.index.blocks[:, 0], file)
        return f"row {number - self.firsts[first]} of {self.files[file]}"


@lru_cache(16)
def _opened(file: Path, *_version: int) -> Opened:
    """Open a file; the last few stay open, because a footer may take as long to read as a row group."""
    return open_parquet(file)


def _content(image: bytes | Path, name: str) -> bytes:
    """Return an image's file, or NoImage if there is none. Raises UserError if it cannot be read."""
    if isinstance(image, bytes):
        return image
    try:
        return patiently(
            lambda: content_of(image) if named_file(image) else missing(image), f"{image}, named by {name},"
        )
    except ValueError:  # too large for an image
        return b""


def _digest(file: Path, footer: int) -> str:
    """Hash the file's size and footer, which holds types, sizes, offsets and ranges of all columns."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        stream.seek(-min(size, footer + 8), 2)
        return hashlib.sha256(str(size).encode() + stream.read()).hexdigest()


def _damaged(what: str) -> UserError:
    return UserError(f"{what} cannot be read: fetch the file again")

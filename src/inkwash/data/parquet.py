"""Source of Parquet files of encoded images and labels, whatever wrote them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkwash.data.columns import columns_like, columns_of, names_files
from inkwash.data.encoded import EncodedSource, Entries, Entry
from inkwash.data.labels import Classes, Part, check_alike, joined, recoded
from inkwash.data.parquet_files import images_in, labels_of, opened, told_by_a_column
from inkwash.data.paths import absolute, given
from inkwash.data.reading import missing, named_file, patiently, version_of
from inkwash.data.rendering import Rendering
from inkwash.data.splits import AUTO, Division, check_splits, divide_files, names_below

SUFFIXES = (".parquet", ".pq", ".parq")
WITHOUT_LABELS = "add data.source.label_column=null to use no labels"


class Parquet(EncodedSource):
    """Images in Parquet files: `data.path` is one file, a folder of shards or a quoted glob ("folder/train-*.parquet").

    Args:
        heldout_path: file, folder or glob of the held-out images; null for the test files in `data.path`, told by
            their names, or a part of it.
        heldout_fraction: fraction of the rows held out if no files are, the same ones for every seed; 0 for none.
        splits: auto tells files for training and testing apart by their names (splits.py); none takes all as one set.
        stratified: hold out the same fraction of each class; false draws from all rows together.
        image_column: column of images; null for the only one, found by its type: files in bytes, struct<bytes, path>
            as Hugging Face writes them, lists of bytes, base64 text, arrays of pixels 0 .. 255 or of the range that
            black and white state, or paths relative to the Parquet file. Arrays of floats must be named.
        label_column: a column of numbers or names; `label` stands for the only column of a similar name too; null for
            images without labels.
        resize, skip_corrupt, cache_dir: see EncodedSource.
        black, white, background: see Rendering.
    """

    finds_labels = True  # `labels`, by which the command finds data.num_classes
    suffixes: tuple[str, ...] = SUFFIXES  # of the files in a folder

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
        from inkwash.data.heldout_draw import rows_of  # not at the top: it imports torch

        division, tables, classes = self._both_splits(path)
        here = tables[split if division.heldout else "train"]
        labels = recoded(*_labels(here), classes)
        wanted = np.ones(len(labels), dtype=bool)
        if division.heldout is None:
            wanted = rows_of(split, labels, self.heldout_fraction, self.stratified).numpy()
        names = names_below([table.file for table in here])
        facts = division.facts(split, classes, int(wanted.sum()), len(labels), names, {})
        if division.heldout is None and self.splits == AUTO:
            facts = replace(facts, suspicious=(*facts.suspicious, *told_by_a_column(division.train)))
        version = ([_version(table) for table in here], split, _hash(np.packbits(wanted)), _hash(labels))
        return Entries(version, int(wanted.sum()), _rows(here, wanted, labels, self.rendering), facts)

    def labels(self, path: str | None) -> tuple[np.ndarray, Classes]:
        """Return the labels of the rows of both splits: see StreamedSource.labels."""
        _, tables, classes = self._both_splits(given(path))
        return np.concatenate([recoded(*_labels(found), classes) for found in tables.values()]), classes

    def _both_splits(self, path: Path) -> tuple[Division, dict[str, list["Table"]], Classes]:
        """Return the files of both splits, what is in them beside images, and the classes of both."""
        division = divide_files(path, self.heldout_path, self.suffixes, self.splits)
        places = {"train": division.train, **({"heldout": division.heldout} if division.heldout else {})}
        first = self._columns(division.train[0])
        tables = {name: [self._table(file, first) for file in files] for name, files in places.items()}
        classes = joined(_labels(found)[1] for found in tables.values())
        check_alike(map(_part, chain(*tables.values())), classes, WITHOUT_LABELS)
        return division, tables, classes

    def _columns(self, file: Path) -> tuple[str, str | None]:
        """Return the columns of images and labels."""
        with opened(file) as shard:
            return columns_of(file, shard.schema_arrow, self.image_column, self.label_column)

    def _table(self, file: Path, first: tuple[str, str | None]) -> "Table":
        """Read what a file holds beside its images.

        Args:
            first: the columns of the first file; a file that lacks one is searched for a column of its own.
        """
        with opened(file) as shard:
            image, label = columns_like(first, file, shard.schema_arrow, self.image_column, self.label_column)
            return Table(file, image, *labels_of(file, shard, label), names_files(shard, image))


class Table(NamedTuple):
    """What a file holds beside its images, so that it need not stay open.

    image: the column of images.
    labels, classes: see `labels_of`.
    names_files: whether images are files of their own.
    """

    file: Path
    image: str
    labels: np.ndarray
    classes: Classes
    names_files: bool


def _part(table: Table) -> Part:
    return Part(str(table.file), bool((table.labels >= 0).any()), table.classes)


def _version(table: Table) -> tuple[object, ...]:
    """Return what tells one state of a file from another, and of the image files that it names."""
    named = images_in(table.file, table.image, Rendering()) if table.names_files else ()
    states = [_state(path, _named(path, row, table)) for row, path in enumerate(named) if isinstance(path, Path)]
    return version_of(table.file), table.image, hashlib.sha256(repr(states).encode()).hexdigest()


def _state(path: Path, name: str) -> tuple[object, ...]:
    """Return the state of an image file that a row names; of a missing one its path alone."""
    return patiently(lambda: version_of(path) if named_file(path) else (str(path),), name)


def _named(path: Path, row: int, table: Table) -> str:
    return f"{path}, named by row {row} of {table.file}"


def _labels(tables: Sequence[Table]) -> tuple[np.ndarray, Classes]:
    """Return the labels of all rows of some files, and the classes of all."""
    classes = joined(table.classes for table in tables)
    return np.concatenate([recoded(table.labels, table.classes, classes) for table in tables]), classes


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def _rows(tables: Sequence[Table], wanted: np.ndarray, labels: np.ndarray, rendering: Rendering) -> Iterator[Entry]:
    """Yield the wanted rows of all files, in order."""
    rows = zip(wanted.tolist(), labels.tolist(), strict=True)
    for table in tables:
        for row, encoded in enumerate(images_in(table.file, table.image, rendering)):
            chosen, label = next(rows, (False, -1))
            if chosen:
                name = f"row {row} of {table.file}"
                if isinstance(encoded, Path):
                    there = patiently(partial(named_file, encoded), _named(encoded, row, table))
                    name, encoded = (_named(encoded, row, table), encoded) if there else (name, missing(encoded))
                yield Entry(name, encoded, label)

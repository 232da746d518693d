"""Arrow files of Hugging Face `datasets` with the methods of pq.ParquetFile that are used here.

They are mapped into memory, not read: a record batch is to an Arrow file what a row group is to a Parquet file.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

SUFFIX = ".arrow"
TAIL = 2**16  # bytes at the end of a file that stand for its content in a digest


class ArrowFile:
    """An Arrow file in the format of streams, as save_to_disk writes it, or with a footer.

    Raises:
        pa.ArrowInvalid: it is damaged, cut short or something else.
    """

    def __init__(self, file: Path):
        self._mapped = pa.memory_map(str(file))
        with_footer = self._mapped.read(6) == b"ARROW1"
        self._mapped.seek(0)
        reader = pa.ipc.open_file(self._mapped) if with_footer else pa.ipc.open_stream(self._mapped)
        self._batches = reader.read_all().to_batches()
        self.schema_arrow: pa.Schema = reader.schema
        self.metadata = Metadata(self._batches)

    def read(self, columns: list[str], use_threads: bool = False) -> pa.Table:
        """Return some columns of all rows."""
        return pa.Table.from_batches(self._batches, self.schema_arrow).select(columns)

    def iter_batches(
        self,
        batch_size: int,
        row_groups: Sequence[int] | None = None,
        columns: list[str] | None = None,
        use_threads: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some record batches, of all by default, at most batch_size at a time."""
        for number in range(len(self._batches)) if row_groups is None else row_groups:
            batch = self._batches[number].select(columns or self.schema_arrow.names)
            yield from (batch.slice(start, batch_size) for start in range(0, batch.num_rows, batch_size))

    def close(self) -> None:
        """Close the file; what is still in use of it stays mapped."""
        self._mapped.close()


class Metadata:
    """Describe an Arrow file as the footer of a Parquet file would: row groups, column sizes and statistics."""

    serialized_size = TAIL

    def __init__(self, batches: Sequence[pa.RecordBatch]):
        self._batches = batches
        self.num_row_groups = len(batches)
        self.num_rows = sum(batch.num_rows for batch in batches)

    def row_group(self, number: int) -> "Group":
        return Group(self._batches[number])


class Group:
    """A record batch; fields of structs are columns of their own, image.bytes for example."""

    def __init__(self, batch: pa.RecordBatch):
        self.num_rows = batch.num_rows
        self._columns = [
            column
            for name, values in zip(batch.schema.names, batch.columns, strict=True)
            for column in _leaves(name, values)
        ]
        self.num_columns = len(self._columns)

    def column(self, number: int) -> "Column":
        return self._columns[number]


class Column(NamedTuple):
    """A column of a record batch."""

    path_in_schema: str
    values: pa.Array

    @property
    def total_uncompressed_size(self) -> int:
        return self.values.nbytes

    @property
    def statistics(self) -> "Statistics":
        return Statistics(self.values)


class Statistics:
    """Number of missing values, the smallest and the largest one, computed when they are asked for."""

    def __init__(self, values: pa.Array):
        self._values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        self.null_count = values.null_count

    @property
    def has_min_max(self) -> bool:
        """False for values that have no order, lists for example."""
        try:
            return bool(self._extremes)
        except pa.ArrowNotImplementedError:
            return False

    @cached_property
    def _extremes(self) -> dict[str, Any]:
        return pc.call_function("min_max", [self._values]).as_py()

    @property
    def min(self) -> Any:
        return self._extremes["min"]

    @property
    def max(self) -> Any:
        return self._extremes["max"]


def _leaves(name: str, values: pa.Array) -> Iterator[Column]:
    if not pa.types.is_struct(values.type):
        yield Column(name, values)
        return
    for field, inner in zip(values.type, values.flatten(), strict=True):
        yield Column(f"{name}.{field.name}", inner)

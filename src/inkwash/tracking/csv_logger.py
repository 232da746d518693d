"""Log every number to metrics.csv in the run directory."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from inkwash.errors import UserError
from inkwash.files import PASSING, insisting, write_text
from inkwash.runs.directory import RunDirectory


class MetricsCsv(Logger):
    """Logger of metrics.csv: a row for each step, a column for each metric.

    Unlike Lightning's CSVLogger it continues the file of a resumed run.

    Args:
        directory: the run directory.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, directory: str):
        super().__init__()
        self.path = RunDirectory(directory).metrics_csv
        self.rows: dict[int, dict[str, Any]] = {}
        if self.path.is_file():
            # A kill may have cut the last line short.
            try:
                text = insisting(lambda: self.path.read_text("utf-8"))
                lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
                self.rows = {int(row["step"]): row for row in csv.DictReader(lines, strict=True)}
                for value in (value for row in self.rows.values() for value in row.values() if value != ""):
                    float(value)  # fewer or more values than columns are None or a list
            except (ValueError, TypeError, KeyError, csv.Error) as error:
                raise UserError(f"{self.path} is damaged ({error!r}): move it away, and a new one begins") from error

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in config.yaml."""

    def forget_after(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run repeats."""
        self.rows = {at: row for at, row in self.rows.items() if at <= step}
        if self.path.exists():
            self._rewrite()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None, "every number here belongs to a step"
        new = step not in self.rows
        row = self.rows.setdefault(step, {"step": step})
        columns = self._columns()
        row.update(metrics)
        if new and self.path.exists() and set(metrics) <= set(columns) and step == max(self.rows):
            try:
                with open(self.path, "a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, columns).writerow(row)
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                self._rewrite()  # a part of the row may be there
        else:
            self._rewrite()

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns())
        writer.writeheader()
        writer.writerows(self.rows[step] for step in sorted(self.rows))
        write_text(self.path, text.getvalue())

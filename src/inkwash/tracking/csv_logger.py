"""metrics.csv: every logged number in the run directory, whatever else logs it."""

import csv
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from inkwash.errors import UserError
from inkwash.files import writing


class MetricsCsv(Logger):
    """A row for each step with a column for each metric. Lightning's CSVLogger starts its file anew on a resume.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: str):
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        if self.path.is_file():
            # A kill may have cut the last line short.
            try:
                text = self.path.read_text("utf-8")
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
        """Nothing: the configuration is config.yaml."""

    def forget_after(self, step: int) -> None:
        """Drop rows of a later step: a resumed run writes them again."""
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
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, columns).writerow(row)
        else:
            self._rewrite()

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def _rewrite(self) -> None:
        partial = self.path.with_suffix(".partial")
        with writing(partial), open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns())
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))
        os.replace(partial, self.path)

"""Read what a run has left so far, for its page: whatever is missing or damaged is noted, not raised. Without torch."""

import contextlib
import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from inkwash.errors import UserError
from inkwash.files import read_json
from inkwash.runs.best import floor_column, logged_directions, main_metric
from inkwash.runs.directory import RunDirectory

Curve = tuple[list[int], list[float]]
T = TypeVar("T")


@dataclass
class RunFiles:
    """The files of a run as they are now.

    Attributes:
        run: the directory.
        missing: sentences about what is missing or damaged, in the order in which it was noticed.
    """

    run: RunDirectory
    missing: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.run.path.name or self.run.path.resolve().name

    def _tried(self, read: Callable[[], T], default: T) -> T:
        try:
            return read()
        except UserError as error:
            self.missing.append(str(error))
            return default

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration that is trained; {} if it cannot be read."""
        return self._tried(lambda: self.run.next_config, {})

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json; {} if it cannot be read."""
        return self._tried(lambda: self.run.record, {})

    @cached_property
    def status(self) -> dict[str, Any]:
        return self.run.status

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; {} before the end."""
        if not self.run.summary_path.exists():
            return {}
        return self._tried(lambda: self.run.summary, {})

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """The columns of metrics.csv: steps and finite values of each, in order; a cut line is passed over."""
        path = self.run.metrics_csv
        if not path.is_file():
            self.missing.append(f"{path.name} does not exist yet: there are no curves")
            return {}
        found: dict[str, Curve] = {}
        odd = 0
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.endswith("\n")]
        with contextlib.suppress(csv.Error):
            for row in csv.DictReader(lines):
                odd += not _add(found, row)
        if odd:
            self.missing.append(f"{path.name} is damaged: {odd} of its lines are left out")
        if not found:
            self.missing.append(f"{path.name} holds no values yet: there are no curves")
        return found

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl that can be read."""
        return self.run.readable_metric_records

    @cached_property
    def directions(self) -> dict[str, bool | None]:
        """Tell for each metric, by its logged name, whether a smaller value is better."""
        return logged_directions(self.run)

    @cached_property
    def latest(self) -> dict[str, dict[str, Any]]:
        """The last record of each metric."""
        return {record["name"]: record for record in self.records}

    @property
    def main_metric(self) -> str | None:
        """Name of the metric that decides; None before the first."""
        return main_metric({name: self.directions.get(f"metrics/{name}") for name in self.latest})

    def floor(self, name: str) -> float | None:
        """Return what real images reach of a metric: their distance, or the classifier's accuracy on them."""
        of_real = floor_column(name, self.latest.get(name, {}).get("extractor"))
        values = self.curves.get(of_real, ([], []))[1]
        return values[-1] if values else None

    @cached_property
    def step(self) -> int:
        """The latest step that any file tells of."""
        steps = [steps[-1] for steps, _ in self.curves.values()]
        return max([*steps, *(step for step, _ in self.grids("step-*.png")), 0])

    @property
    def max_steps(self) -> int | None:
        steps = (self.config.get("trainer") or {}).get("max_steps")
        return steps if isinstance(steps, int) else None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape (C, H, W) of an image; None if the configuration does not say."""
        shape = (self.config.get("data") or {}).get("shape")
        return tuple(shape) if isinstance(shape, list) and len(shape) == 3 else None

    def callback(self, name: str) -> dict[str, Any]:
        """Return a callback's node; {} without it."""
        return (self.config.get("callbacks") or {}).get(name) or {}

    def grids(self, pattern: str) -> list[tuple[int, Path]]:
        """Return steps and files of the sample grids of this name, in order."""
        found = [(re.search(r"(\d+)\.png$", path.name), path) for path in self.run.samples.glob(pattern)]
        return sorted((int(match[1]), path) for match, path in found if match)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes that the network was given; [] without classes."""
        count = (self.config.get("model") or {}).get("num_classes")
        known = self.data.get("classes")
        if not isinstance(count, int):
            return []
        names = list(map(str, known)) if isinstance(known, list) else []
        return [names[i] if i < len(names) else str(i) for i in range(count)]

    @property
    def data(self) -> dict[str, Any]:
        """The report of the data set in run.json; {} before it was loaded."""
        data = self.record.get("data")
        return data if isinstance(data, dict) else {}

    @cached_property
    def evaluations(self) -> list[tuple[Path, list[dict[str, Any]]]]:
        """Folders and results of the finished evaluations of the run, the oldest first."""
        found = []
        for path in sorted(self.run.evaluations.glob("*/table.json"), key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(ValueError, OSError):
                found.append((path.parent, json.loads(path.read_text("utf-8"))))
        return found

    def drawing(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder report/; {} if there is none."""
        with contextlib.suppress(UserError):
            return read_json(self.run.report_folder / name)
        return {}


def _add(found: dict[str, Curve], row: dict[str | None, Any]) -> bool:
    """Add a row of metrics.csv; returns False, and adds nothing, if it is damaged."""
    try:
        step = int(row.pop("step"))
        values = {str(name): float(value) for name, value in row.items() if value != ""}
    except (ValueError, TypeError, KeyError):
        return False
    for name, value in values.items():
        if math.isfinite(value):
            steps, numbers = found.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(value)
    return True

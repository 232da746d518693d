"""List runs with state, step and best metric. Only small files are read: 200 runs take a fraction of a second."""

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.runs.best import HELDOUT_LOSS, floor_column, lower_is_better, main_metric, sign_of
from inkwash.runs.directory import RunDirectory
from inkwash.runs.lock import is_training

TRACEBACK = "Traceback (most recent call last)"
STATES = ("running", "finished", "stopped", "pruned", "failed", "killed", "imported", "lost", "sweep")
MAX_STEPS = re.compile(r"^trainer:\n(?: .*\n)*?  max_steps: (\d+)$", re.MULTILINE)
COMMAND = "command.txt"  # of a sweep: the command that continues it
TAIL = 65_536  # bytes at the end of metrics.csv that hold its last line


@dataclass(frozen=True)
class Row:
    """Row of a list of runs: the state of a run or a sweep.

    Attributes:
        path: the directory.
        state: one of STATES. killed: status.json says running, but no process has the directory; lost: there is no
            status.json that can be read.
        step, max_steps: optimizer steps; of a sweep, jobs that are done and all jobs.
        reason: why a run failed, "" if it did not.
        metric: the metric that decides; None before it was measured.
        lower: whether less of it is better.
        best: its best value so far.
        floor: what real images reach of it; None if that is unknown.
        time: of the last change, in seconds since 1970.
    """

    path: Path
    state: str
    step: int
    max_steps: int | None
    reason: str = ""
    metric: str | None = None
    lower: bool | None = None
    best: float | None = None
    floor: float | None = None
    time: float = 0.0

    @property
    def quality(self) -> float:
        """Return the best value with such a sign that less is better; infinite if there is none."""
        return float("inf") if self.best is None else sign_of(self.lower) * self.best


def rows_of(folder: Path) -> list[Row]:
    """Return a row for each run and each sweep in a folder, the last one changed first."""
    return sorted(_rows(folder), key=lambda row: -row.time)


def is_run(path: Path) -> bool:
    """Tell whether a folder has something of a run in it."""
    run = RunDirectory(path)
    return any(file.is_file() for file in (run.config_path, run.record_path, run.status_path))


def is_sweep(path: Path) -> bool:
    """Tell whether a folder has something of a sweep in it, its command or jobs, and is no run itself."""
    return not is_run(path) and ((path / COMMAND).is_file() or bool(jobs_of(path)))


def jobs_of(path: Path) -> list[Path]:
    """List the runs right below a folder."""
    return [job for job in _folders(path) if is_run(job)]


def _rows(folder: Path) -> Iterator[Row]:
    for path in _folders(folder):
        if is_run(path):
            yield row_of(RunDirectory(path))
        elif jobs := [row_of(RunDirectory(job)) for job in jobs_of(path)]:
            yield _of_sweep(path, jobs)


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return []


def _of_sweep(path: Path, jobs: Sequence[Row]) -> Row:
    best = min(jobs, key=lambda job: job.quality)
    done = sum(job.state in ("finished", "pruned") for job in jobs)
    newest = max(job.time for job in jobs)
    return Row(path, "sweep", done, len(jobs), "", best.metric, best.lower, best.best, best.floor, newest)


def row_of(run: RunDirectory) -> Row:
    """Return the row of a run, which may be half written or damaged."""
    status, record = run.status, {}
    with contextlib.suppress(UserError):
        record = run.record
    state = str(status["state"])
    if state == "running" and not is_training(run):
        state = "killed"
    step = _step(run)
    if state == "finished" and step == 0 and "imported" in record:
        state = "imported"
    error = str(status.get("error", "")).strip()
    if TRACEBACK in error:  # its last line says what went wrong; the rest is in error.txt
        error = error.splitlines()[-1]
    reason = " ".join(error.split()).removeprefix("error: ")
    return Row(run.path, state, step, _max_steps(run), reason, *_best(run), time=_time(run, status))


def _step(run: RunDirectory) -> int:
    steps = [0, *run.checkpoints.by_step()]
    with contextlib.suppress(OSError, ValueError), open(run.metrics_csv, "rb") as file:
        file.seek(max(0, run.metrics_csv.stat().st_size - TAIL))
        whole = file.read().rpartition(b"\n")[0]  # a kill may have cut the last line
        steps.append(int(whole.rpartition(b"\n")[2].partition(b",")[0]))
    return max(steps)


def _max_steps(run: RunDirectory) -> int | None:
    """Return trainer.max_steps of a configuration, without reading all of it as YAML, which takes 100 times as long."""
    for path in (run.next_config_path, run.config_path):
        with contextlib.suppress(OSError):
            if found := MAX_STEPS.search(path.read_text("utf-8", "replace")):
                return int(found[1])
    return None


def _best(run: RunDirectory) -> tuple[str | None, bool | None, float | None, float | None]:
    """Return the metric that decides, whether less is better, its best value, and that of real images.

    Without any metric it is the held-out loss, as in the table of a sweep.
    """
    records: dict[str, list[dict[str, Any]]] = {}
    for record in run.readable_metric_records:
        records.setdefault(record["name"], []).append(record)
    directions = {name: lower_is_better(found[-1]) for name, found in records.items()}
    name = main_metric(directions)
    if name is None:
        losses = list(_column(run, "heldout/loss"))
        return (HELDOUT_LOSS, True, min(losses), None) if losses else (None, None, None, None)
    lower, found = directions[name], records[name]
    best = min((record["value"] for record in found), key=lambda value: sign_of(lower) * value)
    floors = _column(run, floor_column(name, found[-1].get("extractor")), rows=2)  # in the first row
    return name, lower, best, next(floors, None)


def _column(run: RunDirectory, name: str, rows: int | None = None) -> Iterator[float]:
    """Yield the values of a column of metrics.csv, of its first rows or of all; a damaged file gives fewer."""
    with (
        contextlib.suppress(OSError, ValueError, csv.Error),
        open(run.metrics_csv, newline="", encoding="utf-8") as file,
    ):
        yield from (float(row[name]) for row in islice(csv.DictReader(file), rows) if row.get(name))


def _time(run: RunDirectory, status: dict[str, Any]) -> float:
    """Return when a run changed last: at its end, or when it wrote a file."""
    if status["state"] != "running" and isinstance(status.get("time"), int | float):
        return float(status["time"])
    files = (run.metrics_csv, run.log_path, run.status_path, run.config_path, run.path)
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def age(seconds: float) -> str:
    """Return 5 min for 300."""
    for length, unit in ((604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"

"""The table of a sweep: every job, best first."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.runs.best import direction
from inkwash.runs.directory import DONE, RunDirectory

# The metrics that some names of conf/metrics/ stand for.
FIRST = {"prc": "precision", "dc": "density"}
SHOWN = 3  # metrics in the table
FACTS = ("steps", "loss", "images_per_second", "seconds", "commit", "error")  # of a job, in the file


def finish(directory: Path, names: Sequence[str], metric: str | None = None, more: Iterable[str] = ()) -> int:
    """Print the table, write sweep.csv beside the jobs, return the exit status.

    Args:
        names: the jobs that this command was to see to; their failures are told, and make the status 1.
        metric: what to sort by, as `objective` has it.
        more: lines to print below.
    """
    from rich.console import Console  # not for every command that Hydra shows its plugins to

    jobs = [RunDirectory(path) for path in sorted(directory.iterdir())]
    rows = [_job(run) for run in jobs if run.status_path.exists()]
    metric = next((name for row in rows for name in row["metrics"] if name.startswith(metric or "")), None)
    rows.sort(key=lambda row: _rank(row, metric))
    _write_csv(directory / "sweep.csv", rows)
    Console().print(_table(rows, metric))
    states = {row["job"]: row for row in rows}
    lost = {"state": "lost", "overrides": [], "error": "it never started"}
    failed = {name: row for name in names if (row := states.get(name, lost))["state"] not in DONE}
    varied = _varied(rows)
    for name, row in failed.items():
        own = " ".join(o for o in row["overrides"] if o.partition("=")[0] in varied)
        print(f"{row['state']}: {own or name}: {row['error'] or 'it was killed, or still runs'}")
    if len({row["commit"] for row in rows if "commit" in row}) > 1:
        print(f"the jobs were trained by different versions of the code: {directory}/sweep.csv has the commit of each")
    for line in more:
        print(line)
    print(f"{directory}    {directory}/sweep.csv holds this table")
    return int(bool(failed))


def objective(directory: Path, metric: str | None) -> float:
    """What a finished job scored: the metric of a name, or that begins so, or the first that was measured.

    Raises:
        UserError: there is no such metric.
    """
    values = measured(RunDirectory(directory).summary)
    for name, value in values.items():
        if name.startswith(metric or ""):
            return value
    raise UserError(
        f"hydra.sweeper.metric={metric} was not measured in {directory}, but {', '.join(values) or 'nothing'}"
    )


def measured(summary: dict[str, Any]) -> dict[str, float]:
    """The metrics of a summary.json, and the loss of the held-out images."""
    values = {name: record["value"] for name, record in summary["metrics"].items()}
    heldout = summary.get("heldout_loss")
    return values if heldout is None else {**values, "heldout_loss": heldout}


def rises(metric: str) -> bool:
    """Whether a metric, by its name, how that begins, or its name in conf/metrics/, had better be large."""
    return direction(f"metrics/{FIRST.get(metric, metric)}_") > 0


def done(directory: Path) -> bool:
    """Whether a job has ended well and left all that the table needs: else it runs again, which mends its files."""
    return _job(RunDirectory(directory))["state"] in DONE


def _job(run: RunDirectory) -> dict[str, Any]:
    """What a job's directory says of it; the measured keys only where it finished, `lost` where a file is damaged."""
    status = run.status
    row = {"job": run.path.name, "state": status["state"], "overrides": [], "metrics": {}}
    row["error"] = status.get("error", "")
    path = run.record_path
    try:
        record = read_json(path)
        row["overrides"] = [str(override) for override in record["overrides"]]
        row["commit"] = f"{record['commit']}-dirty" if record.get("dirty") else record.get("commit")
        if status["state"] in DONE:
            path = run.summary_path
            row |= _results(read_json(path))
    except (UserError, LookupError, TypeError, ValueError, AttributeError):
        damaged = f"{path} is missing or damaged: restore it from a copy"
        row |= {"state": "lost", "error": row["error"] or damaged}
    return row


def _results(summary: dict[str, Any]) -> dict[str, Any]:
    numbers = {key: summary[key] for key in ("steps", "loss", "images_per_second")} | {
        "seconds": summary.get("seconds")
    }
    metrics = measured(summary)
    if not all(isinstance(value, int | float | None) for value in (*numbers.values(), *metrics.values())):
        raise TypeError("a value is no number")
    return {"metrics": metrics, **numbers}


def _rank(row: dict[str, Any], metric: str | None) -> tuple[bool, float, str]:
    """The best first; jobs that were pruned, at an earlier step, after those that were not; failed ones last."""
    value = row["metrics"].get(metric, math.nan)
    if math.isnan(value):
        return True, 0.0, row["job"]
    return row["state"] == "pruned", -value if rises(metric or "") else value, row["job"]


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [
        {
            "job": row["job"],
            "state": row["state"],
            **dict(override.lstrip("+~").partition("=")[::2] for override in row["overrides"]),
            **row["metrics"],
            **{key: row[key] for key in FACTS if key in row},
        }
        for row in rows
    ]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
    write_text(path, file.getvalue())


def _table(rows: list[dict[str, Any]], metric: str | None) -> Any:
    """What differs between the jobs in columns of its own, then a metric and the first few others."""
    from rich.table import Table

    varied = _varied(rows)
    metrics = list(dict.fromkeys([*filter(None, [metric]), *(name for row in rows for name in row["metrics"])]))[:SHOWN]
    table = Table()
    for key in varied or ["job"]:
        table.add_column(key.lstrip("+~"), overflow="fold")
    for name in (*metrics, "loss", "images/s", "state"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        own = _settings(row)
        numbers = [(row["metrics"].get(name), ".4g") for name in metrics]
        numbers += [(row.get("loss"), ".4f"), (row.get("images_per_second"), ".0f")]
        cells = (
            [_short(own.get(key, "")) for key in varied] if varied and own else [row["job"], *("" for _ in varied[1:])]
        )
        table.add_row(
            *cells,
            *("" if value is None else format(value, style) for value, style in numbers),
            f"pruned at {row['steps']}" if row["state"] == "pruned" else row["state"],
        )
    return table


def _settings(row: dict[str, Any]) -> dict[str, str]:
    return dict(override.partition("=")[::2] for override in row["overrides"])


def _varied(rows: list[dict[str, Any]]) -> list[str]:
    """The keys in whose values the jobs differ."""
    settings = [_settings(row) for row in rows if row["overrides"]]  # else its run.json is damaged
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if len({own.get(key) for own in settings}) > 1]


def _short(value: str) -> str:
    """A number in as many digits as anybody reads."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value

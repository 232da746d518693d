"""Write and print the table of a sweep: every job, the best first."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.runs.best import HELDOUT_LOSS, lower_is_better, main_metric, sign_of
from inkwash.runs.directory import DONE, RunDirectory

SHOWN = 3  # metrics in the table
# Further columns of sweep.csv, which no key is called like: loss=l1 is a choice, and its value the train_loss.
FACTS = ("steps", "train_loss", "images_per_second", "seconds", "commit", "error")


def finish(directory: Path, names: Sequence[str], metric: str | None = None, more: Iterable[str] = ()) -> int:
    """Print the table, write sweep.csv beside the jobs, return the exit status.

    Args:
        names: the jobs of this command; their failures are printed, and make the status 1.
        metric: what to sort by, as `objective` has it.
        more: lines to print below.
    """
    from inkwash.reports.console import print_table  # not at the top: every command imports this module

    rows, metric, _ = sorted_rows(directory, metric)
    _write_csv(directory / "sweep.csv", rows)
    print_table(*_table(rows, metric))
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
    try:
        write_page(directory, metric=metric)
        print(f"{directory}/report.html    the sweep in a browser")
    except Exception as error:  # the jobs are done, whatever is wrong with the page
        print(f"{directory}/report.html could not be written: {error}")
    print(f"{directory}    {directory}/sweep.csv holds this table")
    if rows and rows[0]["state"] in DONE:
        best = directory / rows[0]["job"]
        print(f"{best}    the best job; next: make sample run={best} num_images=64")
    return int(bool(failed))


def sorted_rows(
    directory: Path, metric: str | None = None
) -> tuple[list[dict[str, Any]], str | None, dict[str, bool | None]]:
    """Return a row for each job, the best first, the metric that decides, and the directions of all metrics."""
    jobs = [RunDirectory(path) for path in sorted(directory.iterdir())]
    rows = [_job(run) for run in jobs if run.status_path.exists()]
    directions: dict[str, bool | None] = {}
    for row in rows:
        directions |= {name: lower for name, lower in row["directions"].items() if name not in directions}
    metric = main_metric(directions, metric)
    sign = sign_of(directions.get(metric or ""))
    rows.sort(key=lambda row: _rank(row, metric, sign))
    return rows, metric, directions


def write_page(directory: Path, path: Path | None = None, metric: str | None = None) -> None:
    """Write the page of a sweep. Raises UserError if the directory holds no jobs."""
    from inkwash.reports.sweep_report import Sweep, write_sweep_report

    rows, metric, directions = sorted_rows(directory, metric)
    if not rows:
        raise UserError(f"sweep={directory} holds no jobs of a sweep: none of its folders has a status.json")
    lower = directions.get(metric or "")
    write_sweep_report(Sweep(directory, rows, metric, lower, _varied(rows)), path)


def objective(directory: Path, metric: str | None) -> float:
    """Return the value that a sweep optimises: of the metric with this name or beginning, or the first with a best.

    Raises:
        UserError: there is no such metric.
    """
    summary = RunDirectory(directory).summary
    values = measured(summary)
    name = main_metric(directions_of(summary), metric)
    if name is None:
        raise UserError(
            f"hydra.sweeper.metric={metric} was not measured in {directory}, but {', '.join(values) or 'nothing'}"
        )
    return values[name]


def measured(summary: dict[str, Any]) -> dict[str, float]:
    """Return the metrics in summary.json, and the loss of the held-out images."""
    values = {name: record["value"] for name, record in summary["metrics"].items()}
    heldout = summary.get(HELDOUT_LOSS)
    return values if heldout is None else {**values, HELDOUT_LOSS: heldout}


def directions_of(summary: dict[str, Any]) -> dict[str, bool | None]:
    """Return whether less is better of each value that `measured` gives."""
    records = summary["metrics"]
    directions = {name: lower_is_better({"name": name, **record}) for name, record in records.items()}
    return {**directions, HELDOUT_LOSS: True} if summary.get(HELDOUT_LOSS) is not None else directions


def done(directory: Path) -> bool:
    """Tell whether a job is done and its files are sound. Else it runs again, which writes them anew."""
    return _job(RunDirectory(directory))["state"] in DONE


def _job(run: RunDirectory) -> dict[str, Any]:
    """Read a job's row: measured keys only if it finished; its state is `lost` if a file is missing or damaged."""
    status = run.status
    row = {"job": run.path.name, "state": status["state"], "overrides": [], "metrics": {}, "directions": {}}
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
    """Return the measured keys of a row. Raises LookupError or TypeError if the summary is damaged."""
    numbers = {key: summary[key] for key in ("steps", "images_per_second")} | {
        "train_loss": summary["loss"], "seconds": summary.get("seconds")
    }  # fmt: skip
    metrics = measured(summary)
    if not all(isinstance(value, int | float | None) for value in (*numbers.values(), *metrics.values())):
        raise TypeError("a value is not a number")
    return {"metrics": metrics, "directions": directions_of(summary), **numbers}


def _rank(row: dict[str, Any], metric: str | None, sign: int) -> tuple[bool, float, str]:
    """Return the sort key of a row: best first, then pruned jobs (measured at an earlier step), failed ones last."""
    value = row["metrics"].get(metric, math.nan)
    if math.isnan(value):
        return True, 0.0, row["job"]
    return row["state"] == "pruned", sign * value, row["job"]


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


def _table(rows: list[dict[str, Any]], metric: str | None) -> tuple[list[str], list[list[str]], int]:
    """Return header, lines, and how many columns name a job: those of overrides that vary. The metric comes first."""
    varied = _varied(rows)
    metrics = list(dict.fromkeys([*filter(None, [metric]), *(name for row in rows for name in row["metrics"])]))[:SHOWN]
    header, lines = [*(key.lstrip("+~") for key in varied or ["job"]), *metrics, "train_loss", "images/s", "state"], []
    for row in rows:
        values = _settings(row)
        numbers = [(row["metrics"].get(name), ".4g") for name in metrics]
        numbers += [(row.get("train_loss"), ".4f"), (row.get("images_per_second"), ".0f")]
        cells = [row["job"], *("" for _ in varied[1:])]
        if varied and values:
            cells = [_short(values.get(key, "")) for key in varied]
        cells += ["" if value is None else format(value, style) for value, style in numbers]
        lines.append([*cells, f"pruned at {row['steps']}" if row["state"] == "pruned" else row["state"]])
    return header, lines, len(varied or ["job"])


def _settings(row: dict[str, Any]) -> dict[str, str]:
    return dict(override.partition("=")[::2] for override in row["overrides"])


def _varied(rows: list[dict[str, Any]]) -> list[str]:
    """List the keys whose values differ between jobs."""
    settings = [_settings(row) for row in rows if row["overrides"]]  # else its run.json is damaged
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if len({own.get(key) for own in settings}) > 1]


def _short(value: str) -> str:
    """Shorten a number to four digits."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value

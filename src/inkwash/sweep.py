"""The beginning and the end of a sweep: its directory, what it cannot do, and every job in one table, best first."""

import csv
import itertools
import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, read_write

from inkwash import launch, rundir
from inkwash.errors import UserError
from inkwash.training.best import direction

# The metrics that some names of conf/metrics/ stand for.
FIRST = {"prc": "precision", "dc": "density"}
SHOWN = 3  # metrics in the table
FACTS = ("steps", "loss", "images_per_second", "seconds", "commit", "error")  # of a job, in the file
MOST = 10_000  # combinations, each of which is composed before the first begins


def begin(config: DictConfig) -> None:
    """Refuse what cannot work, and decide the directory for every process that will compose a job of this sweep."""
    if config.run is not None:
        raise UserError(f"run={config.run} names one run: a sweep of several is named by sweep={config.run}")
    directory = Path(config.hydra.sweep.dir)
    for folder in (directory.parent, directory):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"sweep={directory.name}: {folder} is a file, and no folder: choose another sweep=NAME")
    refuse_launcher(config)
    with read_write(config):
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")


def refuse_launcher(config: DictConfig) -> None:
    """Raise UserError for jobs side by side that would all use the same GPUs, or that want more than they get."""
    launcher, settings = str(config.hydra.launcher._target_).rpartition(".")[2], config.hydra.launcher
    together = launcher == "JoblibLauncher" and settings.n_jobs != 1
    together |= launcher == "SlotsLauncher" and settings.gpus is None and settings.jobs != 1
    if together and config.trainer.accelerator in ("auto", "gpu") and launch.visible_gpus():
        name = "joblib" if launcher == "JoblibLauncher" else "parallel"
        raise UserError(f"launcher={name} would run all jobs on the same GPUs: pass launcher=gpus, or trainer=cpu")
    shared = launcher == "SlotsLauncher" and settings.gpus is not None and config.trainer.accelerator != "cpu"
    if shared and (devices := config.trainer.devices) not in ("auto", settings.gpus_per_job):
        raise UserError(
            f"trainer.devices={devices}, but launcher=gpus gives each job {settings.gpus_per_job} GPU: pass "
            f"hydra.launcher.gpus_per_job={devices}, or trainer.devices=auto"
        )


def refuse_counts(overrides: Iterable[Override]) -> None:
    """Raise UserError for a list of no values, or for lists with more combinations than anybody waits for."""
    combinations = 1
    for override in (override for override in overrides if override.is_discrete_sweep()):
        value = override.value()
        try:
            values = value.range() if isinstance(value, RangeSweep) else override.sweep_iterator()
            count = sum(1 for _ in itertools.islice(values, MOST + 1))
        except ValueError as error:
            raise UserError(f"{override.input_line}: {error}") from error
        combinations *= count
        if count == 0:
            raise UserError(f"{override.input_line} lists no values")
        if combinations > MOST:
            raise UserError(f"{override.input_line} makes more than {MOST:,} combinations: list fewer values")


def announce(config: DictConfig, what: str) -> None:
    """Say what is about to run, and what to type when it is interrupted; command.txt keeps that."""
    directory = Path(config.hydra.sweep.dir)
    directory.mkdir(parents=True, exist_ok=True)
    given: Any = OmegaConf.to_container(config.hydra.overrides)  # ${...} as it was typed
    ours = [o for o in given["hydra"] if o.lstrip("+~").startswith(("hydra.launcher", "hydra.sweeper"))]
    typed = [*given["task"], *ours]
    others = [override for override in typed if not override.startswith("sweep=")]
    command = shlex.join(["make", "sweep", f"sweep={directory.name}", *others])
    rundir.write_text(directory / "command.txt", command + "\n")
    print(f"{directory}    {what}; to go on after an interruption: {command}", flush=True)


def finish(directory: Path, names: Sequence[str], metric: str | None = None, more: Iterable[str] = ()) -> int:
    """Print the table, write sweep.csv beside the jobs, return the exit status.

    Args:
        names: the jobs that this command was to see to; their failures are told, and make the status 1.
        metric: what to sort by, as `objective` has it.
        more: lines to print below.
    """
    from rich.console import Console  # not for every command that Hydra shows its plugins to

    rows = [_job(status.parent) for status in sorted(directory.glob("*/status.json"))]
    metric = next((name for row in rows for name in row["metrics"] if name.startswith(metric or "")), None)
    rows.sort(key=lambda row: _rank(row, metric))
    _write_csv(directory / "sweep.csv", rows)
    Console().print(_table(rows, metric))
    states = {row["job"]: row for row in rows}
    lost = {"state": "lost", "overrides": [], "error": "it never started"}
    failed = {name: row for name in names if (row := states.get(name, lost))["state"] not in rundir.DONE}
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
    values = measured(rundir.read_json(directory / "summary.json"))
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
    return _job(directory)["state"] in rundir.DONE


def _job(directory: Path) -> dict[str, Any]:
    """What a job's directory says of it; the measured keys only where it finished, `lost` where a file is damaged."""
    status = rundir.read_status(directory)
    row = {"job": directory.name, "state": status["state"], "overrides": [], "metrics": {}}
    row["error"] = status.get("error", "")
    path = directory / "run.json"
    try:
        about = rundir.read_json(path)
        row["overrides"] = [str(override) for override in about["overrides"]]
        row["commit"] = f"{about['commit']}-dirty" if about.get("dirty") else about.get("commit")
        if status["state"] in rundir.DONE:
            path = directory / "summary.json"
            row |= _results(rundir.read_json(path))
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
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in flat for name in row)))
        writer.writeheader()
        writer.writerows(flat)


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

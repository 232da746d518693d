"""The end of a sweep: every job in one table, best first."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table


class SweepTable(Callback):
    """Prints the table when Hydra's multirun is over, and exits with status 1 when any job failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sys.exit(finish(Path(config.hydra.sweep.dir)))


def finish(directory: Path) -> int:
    """Print the table, write sweep.csv beside the jobs, return the exit status."""
    rows = [_job(status.parent) for status in sorted(directory.glob("*/status.json"))]
    metric = next((name for row in rows for name in row["metrics"]), None)
    rows.sort(key=lambda row: row["metrics"].get(metric, float("inf")))
    _write_csv(directory / "sweep.csv", rows)
    _print(rows, metric)
    failed = [row for row in rows if row["state"] != "finished"]
    for row in failed:
        print(f"failed: {' '.join(row['overrides'])}: {row['error']}")
    print(f"{directory}    {directory}/sweep.csv holds this table")
    return int(bool(failed))


def _job(directory: Path) -> dict[str, Any]:
    """What a job's directory says of it; the measured keys only where it finished."""
    state = json.loads((directory / "status.json").read_text())
    overrides = json.loads((directory / "run.json").read_text())["overrides"]
    row = {"job": directory.name, "state": state["state"], "overrides": overrides, "metrics": {}}
    row["error"] = state.get("error", "")
    if state["state"] == "finished":
        summary = json.loads((directory / "summary.json").read_text())
        row["metrics"] = {name: metric["value"] for name, metric in summary["metrics"].items()}
        row |= {key: summary[key] for key in ("steps", "loss", "images_per_second")}
    return row


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [
        {
            "job": row["job"],
            "state": row["state"],
            **dict(override.lstrip("+~").partition("=")[::2] for override in row["overrides"]),
            **row["metrics"],
            **{key: row[key] for key in ("steps", "loss", "images_per_second", "error") if key in row},
        }
        for row in rows
    ]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in flat for name in row)))
        writer.writeheader()
        writer.writerows(flat)


def _print(rows: list[dict[str, Any]], metric: str | None) -> None:
    table = Table()
    # What differs between the jobs tells them apart; the rest is noise.
    common = set.intersection(*(set(row["overrides"]) for row in rows)) if rows else set()
    table.add_column("job", overflow="fold")
    for name in (metric or "metric", "loss", "images/s", "state"):
        table.add_column(name, justify="right")
    for row in rows:
        own = " ".join(override for override in row["overrides"] if override not in common) or row["job"]
        numbers = ((row["metrics"].get(metric), ".4g"), (row.get("loss"), ".4f"), (row.get("images_per_second"), ".0f"))
        table.add_row(own, *("" if value is None else format(value, style) for value, style in numbers), row["state"])
    Console().print(table)

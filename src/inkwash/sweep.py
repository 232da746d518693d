"""The end of a sweep: every job in one table, best first."""

import csv
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# The sweep of this process, and its jobs that ended before they had a directory.
_directory: Path | None = None
_failures: list[tuple[list[str], str]] = []


def is_multirun(arguments: list[str]) -> bool:
    return any(argument in ("-m", "--multirun") for argument in arguments)


def note_directory(directory: Path) -> None:
    """Remember where this process's sweep puts its jobs."""
    global _directory
    _directory = directory


def note_failure(overrides: list[str], error: str) -> None:
    """Remember a job whose configuration was refused."""
    _failures.append((overrides, error))


def finish() -> int:
    """Print the table, write sweep.csv beside the jobs, return the exit status: 1 when any job failed."""
    assert _directory is not None, "a sweep has at least one job"
    directory = _directory
    directory.mkdir(parents=True, exist_ok=True)
    rows = [*_jobs(directory), *({"job": " ".join(o), "state": "failed", "error": e} for o, e in _failures)]
    metric = next((name for row in rows for name in row.get("metrics", {})), None)
    rows.sort(key=lambda row: row.get("metrics", {}).get(metric, float("inf")))
    _write_csv(directory / "sweep.csv", rows)
    _print(rows, metric)
    for row in rows:
        if row["state"] != "finished":
            print(f"failed: {row['job']}: {row['error']}")
    print(f"{directory}    {directory}/sweep.csv holds this table")
    return int(any(row["state"] != "finished" for row in rows))


def _jobs(directory: Path) -> list[dict[str, Any]]:
    rows = []
    for status in sorted(directory.glob("*/status.json")):
        job = status.parent
        state = json.loads(status.read_text())
        row = {"job": job.name, "state": state["state"], "error": state.get("error", "")}
        row["overrides"] = json.loads((job / "run.json").read_text())["overrides"]
        if state["state"] == "finished":
            summary = json.loads((job / "summary.json").read_text())
            row["metrics"] = {name: metric["value"] for name, metric in summary["metrics"].items()}
            row |= {key: summary[key] for key in ("steps", "loss", "images_per_second")}
        rows.append(row)
    return rows


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [
        {
            "job": row["job"],
            "state": row["state"],
            **dict(override.lstrip("+~").partition("=")[::2] for override in row.get("overrides", [])),
            **row.get("metrics", {}),
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
    common = set.intersection(*(set(row.get("overrides", [])) for row in rows)) if rows else set()
    table.add_column("job", overflow="fold")
    for name in (metric or "metric", "loss", "images/s", "state"):
        table.add_column(name, justify="right")
    for row in rows:
        own = " ".join(o for o in row.get("overrides", []) if o not in common) or row["job"]
        value = row.get("metrics", {}).get(metric)
        table.add_row(
            own,
            "" if value is None else f"{value:.4g}",
            f"{row['loss']:.4f}" if "loss" in row else "",
            f"{row['images_per_second']:.0f}" if "images_per_second" in row else "",
            row["state"],
        )
    Console().print(table)

"""Read back what earlier starts of a run have logged: W&B's own records, and metrics.csv."""

import csv
import json
import subprocess
import sys
from typing import Any

from inkwash.runs.directory import RunDirectory

STEP = "trainer/global_step"  # column of the optimizer step


def steps_sent(run: RunDirectory, run_id: str) -> dict[str, int]:
    """Return the last step of each value that W&B has of a run, from W&B's records of its earlier starts."""
    last: dict[str, int] = {}
    for record in sorted(run.path.glob(f"wandb/*run-*/run-{run_id}.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(record)]
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for item in (json.loads(line)["history"]["item"] for line in text.splitlines() if '"type":"history"' in line):
            names = (name.removesuffix("._type") for name in item)  # of an image or a table
            last |= {name: max(item.get(STEP, -1), last.get(name, -1)) for name in names}
    return last


def earlier_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """Return what a resumed run has logged so far, from its metrics.csv."""
    if not run.metrics_csv.exists():
        return []
    with open(run.metrics_csv, newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]

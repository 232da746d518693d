"""`inkwash sync [run=NAME]`: upload to W&B what runs have logged offline."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from inkwash.commands.export import one_sentence
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError
from inkwash.runs.directory import RUNS, RunDirectory
from inkwash.runs.lock import is_training
from inkwash.tracking.wandb_offline import records
from inkwash.tracking.wandb_reach import reach
from inkwash.tracking.wandb_settings import has_api_key


def sync(config: DictConfig) -> None:
    """List what has not been uploaded, oldest first, and upload it with `wandb sync`."""
    with one_sentence():
        check(config)
        runs = [RunDirectory.find(config.run).path] if config.run else list(find_runs(RUNS))
        left = {run: records(run) for run in runs}
        for run in [run for run in left if left[run] and still_trains(run)]:
            print(f"{run}    left alone: it is still training")
            del left[run]
        paths = [record for run in left for record in left[run]]
        for run in left:
            for record in left[run]:
                print(f"{run}    {record.name}    {megabytes(record):.1f} MB")
        if not paths:
            print(f"nothing to upload: W&B has all of {config.run or RUNS}")
            return
        if config.dry:
            return
        if not has_api_key():
            raise UserError("there is no API key to upload with: run `wandb login`, or set WANDB_API_KEY")
        reach()
    status = subprocess.run([sys.executable, "-m", "wandb", "sync", *map(str, paths)]).returncode
    if status or any(records(run) for run in left):
        sys.exit("error: W&B did not take all of it: run the same command again, which uploads the rest")


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield every run directory below a folder, jobs of sweeps among them."""
    yield from (run.path for run in RunDirectory.below(folder))


def still_trains(directory: Path) -> bool:
    """Tell whether a training writes to the directory: W&B would take its unfinished record for a whole one."""
    return is_training(RunDirectory(directory))


def megabytes(record: Path) -> float:
    """Return the size of a record and its images."""
    return sum(path.stat().st_size for path in record.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    cli.run(sync, "sync")

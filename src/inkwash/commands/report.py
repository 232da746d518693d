"""`inkwash report run=DIR|sweep=DIR|runs=A,B`: write the page of a run or a sweep, or compare runs on one."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.commands.export import one_sentence
from inkwash.commands.output import writing_to
from inkwash.config import cli
from inkwash.config.quotes import as_name
from inkwash.config.validate import check
from inkwash.errors import UserError
from inkwash.files import make_folder, write_json
from inkwash.launch.start import exit_code, start
from inkwash.runs.directory import RUNS, RunDirectory
from inkwash.runs.lock import is_training

WHAT = ("run", "sweep", "runs")
# Of the folder report/, what jobs/report.py can draw when the training is over.
DRAWN = ("forward.png", "schedules.json", "reverse.png")


def report(config: DictConfig) -> None:
    """Write the page, and print where it is."""
    with one_sentence():
        check(config)
        given = [key for key in WHAT if config[key] is not None]
        if len(given) > 1:
            raise UserError(f"report shows one thing at a time, not {' and '.join(given)}: leave one out")
        if config.out is not None and Path(config.out).is_dir():
            raise UserError(f"out={config.out} is a folder: name a file, out={config.out}/report.html")
    if given == ["sweep"]:
        of_sweep(config)
    elif given == ["runs"]:
        of_runs(config)
    else:
        of_run(config)


def of_run(config: DictConfig) -> None:
    """Draw what the page of a run lacks, in a process of its own, and write it."""
    from inkwash.reports.run_report import write_run_report

    with one_sentence():
        run = find(config.run or "latest")
        path = page_path(config.out, run.report_path)
        lacking = [name for name in DRAWN if not (run.report_folder / name).exists()]
    if config.draw and lacking and run.config_path.is_file():
        draw(run, f"what {path.name} lacks: {', '.join(Path(name).stem for name in lacking)}")
    with one_sentence(), writing_to(path):
        write_run_report(run, path, killed=not is_training(run))
    print(f"{path}    open it in a browser")


def draw(run: RunDirectory, what: str) -> None:
    """Draw what is in the folder report/ of a run, in a process whose own files are in a folder of their own."""
    if not os.access(run.path, os.W_OK):
        print(f"not drawing {what}: {run} cannot be written", file=sys.stderr)
        return
    print(f"drawing {what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="inkwash-report-") as folder:
        write_json(config := Path(folder, "report.json"), {"run": str(run.path.absolute())})
        status = start("inkwash.jobs.report:draw", config, "auto", 1)
    if status < 0:  # a signal
        sys.exit(exit_code(status))
    if status:
        print("it could not be drawn: the page says what it lacks", file=sys.stderr)


def of_sweep(config: DictConfig) -> None:
    """Write the page of a sweep from what its jobs have left."""
    from inkwash.sweeps.table import write_page

    with one_sentence():
        folder = find_sweep(config.sweep)
        path = page_path(config.out, folder / "report.html")
        with writing_to(path):
            write_page(folder, path)
    print(f"{path}    open it in a browser")


def of_runs(config: DictConfig) -> None:
    """Write the page that compares runs."""
    from inkwash.reports.comparison import write_comparison

    with one_sentence():
        runs = runs_to_compare(config)
        path = comparison_path(config.out, runs)
        with writing_to(path):
            write_comparison(path, runs)
    print(f"{path}    open it in a browser")


def runs_to_compare(config: DictConfig) -> list[RunDirectory]:
    """Return the runs that the key `runs` names, each once. Raises UserError unless there are two or more."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    names = plain["runs"] if isinstance(plain["runs"], list) else [plain["runs"]]
    runs = {run.path.resolve(): run for run in (find(str(name)) for name in names)}
    if len(runs) < 2:
        raise UserError(f"runs={','.join(map(str, names))} compares two runs or more: runs=NAME,OTHER")
    return list(runs.values())


def comparison_path(out: str | None, runs: Sequence[RunDirectory]) -> Path:
    """Return the file of the page that compares runs: `out`, or one below runs/ that their names are part of."""
    return page_path(out, RUNS / f"compare-{'-'.join(run.path.name for run in runs)[:120]}.html")


def find(name: str) -> RunDirectory:
    """Find a run by its path or its name below runs/; it may be half written.

    Raises:
        UserError: there is no such directory, or nothing of a run in it.
    """
    for directory in (Path(name), RUNS / name):
        run = RunDirectory(directory)
        if any(path.is_file() for path in (run.config_path, run.record_path, run.metrics_csv, run.status_path)):
            return run
    raise UserError(f"run={name} is not a run directory: neither {name} nor {RUNS / name} holds anything of a run")


def find_sweep(name: str) -> Path:
    """Find a sweep by its directory or its name below runs/. Raises UserError if there is none."""
    found = next((folder for folder in (Path(name), RUNS / name) if folder.is_dir()), None)
    if found is None:
        raise UserError(f"sweep={name} is not a directory, and neither is {RUNS / name}")
    return found


def page_path(out: str | None, default: Path) -> Path:
    """Return the file to write, in a folder that exists."""
    path = default if out is None else Path(out)
    make_folder("out", path.parent)
    return path


def with_list(argument: str) -> str:
    """Write runs=A,B as Hydra writes a list: else it would be a sweep of two values."""
    key, equals, value = argument.partition("=")
    if key != "runs" or not equals or value.startswith("["):
        return argument
    return f"runs=[{','.join(map(as_name, value.split(',')))}]"


def main() -> None:
    sys.argv[1:] = [with_list(argument) for argument in sys.argv[1:]]
    cli.run(report, "report")

"""A run directory that is there already: whether a training may go on in it, and what is put back if it does not."""

import contextlib
from pathlib import Path
from typing import Any

from inkwash import rundir
from inkwash.errors import UserError
from inkwash.training import changes, next_config
from inkwash.training.checkpoint_files import candidates, step_files

# What a training reads or adds to.
FILES = (
    "config.yaml", "run.json", "status.json", "summary.json", "trial.json", "metrics.csv", "metrics.jsonl", "train.log",
    "launch.lock", next_config.NAME,
)  # fmt: skip


def check_files(directory: Path) -> None:
    """Raise UserError where a run directory is none, or what is read of it is damaged."""
    for folder in (directory, directory / "checkpoints", directory / "samples"):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, and no folder: choose another run=NAME")
    for path in (directory / name for name in FILES):
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path} is no file: move it away, or choose another run=NAME")
    read_about(directory)


def check_resume(directory: Path, resume: str, config: dict[str, Any]) -> None:
    """A checkpoint continues when it should, and only with the network and the process it was trained with."""
    files = candidates(directory)
    if resume == "must" and not files:
        last = directory / "checkpoints" / "last.ckpt"
        raise UserError(f"resume=must, but there is no {last}: check run=, or pass resume=auto to start afresh")
    if not files:
        return
    if resume == "never":
        raise UserError(f"resume=never, but {directory} already holds a run: choose another run=NAME or delete it")
    # An imported run has made no step yet. The ranks look into the checkpoint and have the last word (resuming.py).
    step = 0 if not step_files(directory) and "imported" in read_about(directory) else None
    if change := changes.forbidden(rundir.read_config(directory), config, step):
        raise UserError(changes.refusal(directory, change))


def read_about(directory: Path) -> dict[str, Any]:
    """run.json, or nothing where there is none yet. Raises UserError where it is damaged."""
    path = directory / "run.json"
    if not path.exists():
        return {}
    try:
        about = rundir.read_json(path)
    except UserError:
        about = {}
    if not isinstance(about.get("id"), str):
        raise UserError(f"{path} is damaged: delete it, and the run is a new one to W&B")
    return about


def remembered(directory: Path) -> dict[Path, str]:
    """What is put back of a run that a resume has left as it was."""
    paths = [directory / "run.json"]
    if rundir.read_status(directory)["state"] in rundir.DONE:
        paths.append(directory / "status.json")
    return {path: path.read_text("utf-8") for path in paths if path.is_file()}


def put_back(directory: Path, multirun: bool, texts: dict[Path, str]) -> None:
    """Leave the run as it was after a resume that made no checkpoint; only a sweep's table tells of the failure."""
    if next_config.drop(directory):
        with contextlib.suppress(OSError):  # a full disk, perhaps, which the ranks have told of
            for path, text in texts.items():
                if not (multirun and path.name == "status.json"):
                    rundir.write_text(path, text)

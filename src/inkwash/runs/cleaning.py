"""Find what runs that came to nothing have left, and delete it: never a run that trains, never outside of runs/."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.runs.lock import is_training
from inkwash.runs.overview import COMMAND, is_run, jobs_of, row_of

# States of runs that have ended without a result, and of those whose process is gone, or never wrote a status.
ENDED, GONE = ("failed", "stopped"), ("killed", "lost")
# Seconds without a change after which a run without an end, or a partial file, counts as left behind: on a file system
# without locks a running training looks like a killed one.
QUIET = 3600
# What a killed process leaves half written in a run directory (files.py; checkpoints/io.py).
PARTIAL = "**/*.partial"
# Files anywhere below a run directory that may be the only copy of work: weights, a sweep, another run.
WORK = ("*.ckpt", "*.safetensors", COMMAND, "*/run.json")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may be deleted.

    Attributes:
        path: its place.
        why: what it is.
        size: bytes, of all files in it.
    """

    path: Path
    why: str
    size: int


def leftovers(folder: Path) -> list[Leftover]:
    """List runs without a checkpoint that failed, were killed or never began, and half-written files of the others."""
    found: list[Leftover] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink() or not path.is_dir():
            continue
        if is_run(path):
            found += _of_run(RunDirectory(path))
        elif not any(path.iterdir()) and quiet(path):
            found.append(_leftover(path, "an empty folder"))
    return found


def _of_run(run: RunDirectory) -> Iterator[Leftover]:
    if not run.record_path.is_file():  # perhaps of another program, which has a config.yaml as well
        return
    row = row_of(run)
    if row.state == "running" or is_training(run):
        return
    nothing = row.state in ENDED or (row.state in GONE and time.time() - row.time > QUIET)
    if nothing and not holds_work(run):
        yield _leftover(run.path, f"{row.state}, no checkpoint{row.reason and f': {row.reason}'}")
        return
    if run.next_config_path.is_file() and quiet(run.next_config_path):
        yield _leftover(run.next_config_path, "configuration of a resume that came to nothing")
    for path in sorted(run.path.glob(PARTIAL)):
        if not path.is_symlink() and quiet(path):
            yield _leftover(path, "half written")


def quiet(path: Path) -> bool:
    """Tell whether a file or folder has not changed for QUIET seconds."""
    return time.time() - path.stat().st_mtime > QUIET


def holds_work(run: RunDirectory) -> bool:
    """Tell whether a directory holds weights, also those that only the best score or a copy has left, or other runs."""
    return any(next(run.path.rglob(pattern), None) for pattern in WORK) or bool(jobs_of(run.path))


def named(folder: Path, names: list[str]) -> list[Leftover]:
    """List runs that the user names, whatever they hold.

    Raises:
        UserError: one is not a run below the folder, or a process trains in it.
    """
    return [_leftover(_named(folder, name).path, "named") for name in names]


def _named(folder: Path, name: str) -> RunDirectory:
    path = next((path for path in (folder / name, Path(name)) if is_run(path)), None)
    if path is None:
        raise UserError(f"runs={name} is not a run directory: neither {folder / name} nor {name} holds anything of one")
    if path.is_symlink() or folder.resolve() not in path.resolve().parents:
        raise UserError(f"runs={name} is a link, or not below {folder}: delete it yourself")
    if is_training(run := RunDirectory(path)):
        raise UserError(f"runs={name} is still training: stop it first")
    if jobs := jobs_of(path):
        raise UserError(
            f"runs={name} would take the runs below {path} with it: delete those first, runs={jobs[0]} for example"
        )
    return run


def delete(found: Leftover) -> bool:
    """Delete a leftover; returns False if a process trains in the run by now."""
    if found.path.is_dir():
        if is_training(RunDirectory(found.path)):
            return False
        shutil.rmtree(found.path)
    else:
        found.path.unlink(missing_ok=True)
    return True


def mend_latest(folder: Path) -> None:
    """Have runs/latest point to the newest run that is left, if it points to none."""
    link = folder / "latest"
    if not link.is_symlink() or link.exists():
        return
    link.unlink()
    left = [path for path in folder.iterdir() if path.is_dir() and is_run(path)]
    if left:
        RunDirectory(max(left, key=lambda path: row_of(RunDirectory(path)).time)).point_latest()


def _leftover(path: Path, why: str) -> Leftover:
    files = [path, *path.rglob("*")]
    return Leftover(path, why, sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink()))

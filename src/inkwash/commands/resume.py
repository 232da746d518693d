"""`inkwash resume run=NAME`: go on with a run, with its own command line and what is typed now."""

import math
import os
import shlex
import sys
from pathlib import Path

from inkwash.autoencoders.files import CONFIG, find_files
from inkwash.commands import train
from inkwash.commands.export import one_sentence
from inkwash.errors import UserError
from inkwash.runs.command_line import arguments_of, key_of, refuse_choices, with_more
from inkwash.runs.directory import DONE, RUNS, RunDirectory
from inkwash.runs.overview import COMMAND, row_of
from inkwash.runs.relative_paths import place

OF_THE_AUTOENCODER = ("autoencoder", "autoencoder.path")


def resume(arguments: list[str]) -> list[str]:
    """Return the arguments of `inkwash train` that go on with the run that `run` names, the latest by default.

    A run in a folder runs/ elsewhere goes on there: its relative paths count from the folder that holds runs/.

    Raises:
        UserError: there is no such run, it is a job of a sweep, is not in a folder runs/, is finished, or has lost its
            checkpoints.
    """
    names = [argument.partition("=")[2] for argument in arguments if key_of(argument) == "run"]
    typed = [argument for argument in arguments if key_of(argument) != "run"]
    name = names[-1] if names else "latest"
    path = in_runs(RunDirectory.find(name).path)
    run = RunDirectory(path)
    called = path.name if path.parent == RUNS.absolute() else str(path)
    if path.parents[1].name == RUNS.name and (again := path.parent / COMMAND).is_file():
        raise UserError(f"run={name} is a job of a sweep, which goes on as a whole: {again.read_text('utf-8').strip()}")
    if path.parent.name != RUNS.name:
        raise UserError(f"run={name} is not in a folder {RUNS}: move it to {RUNS / path.name}, where training finds it")
    refuse_lost(run, called)
    refuse_finished(run, called, typed)
    refuse_choices(run, called, typed)
    if path.parent != RUNS.absolute():
        os.chdir(path.parents[1])
        print(f"in {Path.cwd()}", file=sys.stderr)
    return [*with_more(arguments_of(run, typed), [*kept_autoencoder(run, typed), *typed]), f"run={path.name}"]


def kept_autoencoder(run: RunDirectory, typed: list[str]) -> list[str]:
    """Return the override that names the autoencoder which a run on latents keeps, if its own can no longer be found.

    Relative paths count from the working directory.
    """
    path = (run.next_config.get("autoencoder") or {}).get("path")
    kept = RUNS / run.path.name / run.autoencoder.name
    if path is None or not (kept / CONFIG).is_file() or any(key_of(a) in OF_THE_AUTOENCODER for a in typed):
        return []
    try:
        find_files(path)
    except UserError:
        print(f"autoencoder.path={path} is no longer there: its files that the run has kept are taken", file=sys.stderr)
        return [f"autoencoder.path={kept}"]
    return []


def in_runs(path: Path) -> Path:
    """Return the path of a run below runs/ of this folder, which may lead to another disk, else the run's own place."""
    given, runs = place(path), RUNS.resolve()
    inside = [at.relative_to(runs) for at in (given, given.resolve()) if at.is_relative_to(runs)]
    return RUNS.absolute() / inside[0] if inside else given


def refuse_lost(run: RunDirectory, called: str) -> None:
    """Raise UserError if a run has made steps, and the checkpoints that it must have saved are gone.

    It would begin anew and drop its records. One that was ended before its first checkpoint has nothing to lose.
    """
    row, done = row_of(run), run.status["state"] in DONE
    if run.checkpoints.newest_first() or not (done or row.step > first_checkpoint(run)):
        return
    raise UserError(
        f"run={called} has no checkpoint from which its {row.step} steps go on, and beginning anew would delete their "
        f"records: make train from={called} run=NAME begins another run with the same overrides"
    )


def first_checkpoint(run: RunDirectory) -> float:
    """Return the step after which a training saves for the first time; 0 if it never does."""
    saver = (run.next_config.get("callbacks") or {}).get("checkpoint")
    return 0 if saver is None else saver.get("every_n_steps", math.inf)


def refuse_finished(run: RunDirectory, called: str, typed: list[str]) -> None:
    """Raise UserError that says what to type if a run has done all of its steps and no other number is typed."""
    row = row_of(run)
    more = any(key_of(argument) == "trainer.max_steps" for argument in typed)
    if row.state == "finished" and row.max_steps is not None and row.step >= row.max_steps and not more:
        raise UserError(
            f"run={called} is finished, after {row.step} steps: make resume run={called} "
            f"trainer.max_steps={2 * row.step} goes on with it, make sample run={called} draws images"
        )


def main() -> None:
    with one_sentence():
        sys.argv[1:] = resume(sys.argv[1:])
    print(f"inkwash train {shlex.join(sys.argv[1:])}", file=sys.stderr)
    train.main()

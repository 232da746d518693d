"""Train and evaluate what a study needs and is not there yet."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from labbook.study import ROOT, Study, Training, name_of

FINISHED, STOPPED = "finished", "stopped"


def is_done(run: RunDirectory) -> bool:
    """Tell whether a run has come to its end: that of its steps, or that of the time it was given, measured there."""
    state = run.status.get("state")
    if state != STOPPED or not run.summary_path.exists():
        return state == FINISHED
    return "max_time" in run.config["trainer"]["options"] and bool(run.summary.get("metrics"))


def run(
    study: Study, local: Sequence[str], runs: Path = ROOT / "runs", after: Callable[[], object] = lambda: None
) -> None:
    """Make all runs and evaluations of a study; a run that was stopped goes on.

    Args:
        local: overrides for this machine, trainer.threads=1 for one; they do not tell runs apart.
        after: called after each training with its evaluations.

    Raises:
        UserError: a command failed, or an override would make another training.
    """
    check_local(local)
    trainings = study.trainings()
    for number, training in enumerate(trainings, 1):
        print(f"{study.name}: {training.row}, seed {training.seed} ({number} of {len(trainings)})", flush=True)
        make(study, training, local, runs)
        after()


def check_local(local: Sequence[str]) -> None:
    """Raise UserError unless the overrides are about this machine: the others belong into the study."""
    if wrong := [word for word in local if not word.startswith(OF_A_MACHINE)]:
        raise UserError(
            f"{' '.join(wrong)}: only {' '.join(OF_A_MACHINE)} may be passed; the rest belongs into the study"
        )


def make(study: Study, training: Training, local: Sequence[str], runs: Path) -> None:
    """Make a run of a study with its evaluations, and the run whose weights it takes, as far as they are not there."""
    if training.source:
        make(study, training.source, local, runs)
    directory, log = runs / training.run, runs / f"{training.run}.log"
    if not is_done(RunDirectory(directory)):
        _inkwash(log, "train", f"run={training.run}", *training.words, *local)
    machine = [word for word in local if word.startswith(OF_EVALUATE)]
    for number, words in enumerate(study.evaluate):
        out = evaluation(study, directory, number)
        if not (out / "table.json").exists():
            _inkwash(log, "evaluate", f"run={training.run}", f"out={out}", f"seed={training.seed}", *words, *machine)


OF_A_MACHINE = (
    *(f"trainer.{key}=" for key in ("threads", "devices", "accelerator", "num_nodes", "strategy", "precision")),
    *("trainer=", "logger=", "data.path=", "data.source.heldout_path=", "data.num_workers=", "compile="),
)
OF_EVALUATE = ("trainer.threads=", "trainer.devices=", "trainer.accelerator=")  # overrides that it takes, too


def evaluation(study: Study, directory: Path, number: int) -> Path:
    """Return the folder of a study's evaluation of a run."""
    return directory / "evaluations" / name_of(study.evaluate[number])


def _inkwash(log: Path, *words: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as file:
        command = [sys.executable, "-m", "inkwash", *words]
        status = subprocess.run(command, stdout=file, stderr=file, cwd=log.parent.parent).returncode
    if status:
        raise UserError(f"inkwash {shlex.join(words)} failed ({status}), see {log}")

"""python -m inkwash.train [overrides]: compose a configuration, then train it in processes of its own.

No torch in this process: a misspelt key is told within a second.
"""

import contextlib
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inkwash import command, launch, rundir, schema
from inkwash.check import PARTS, check
from inkwash.cluster import Place, check_place, find_place, job_name
from inkwash.continuing import check_files, check_resume, put_back, read_about, remembered
from inkwash.credentials import refuse_secrets
from inkwash.errors import UserError, user_error
from inkwash.training import next_config, trials
from inkwash.training.checkpoint_files import candidates
from inkwash.training.processes import OccupiedError, alone

schema.register()
OmegaConf.register_new_resolver("sweep_name", rundir.sweep_name, replace=True)


def train(config: DictConfig) -> float:
    """One job; returns its first metric, or NaN when it failed, for sweepers."""
    with contextlib.ExitStack() as stack:
        return train_alone(config, stack)


def train_alone(config: DictConfig, stack: contextlib.ExitStack) -> float:
    """The same; the stack, until it is closed, keeps others out of the run directory."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    place = None
    refuse_secrets(typed())  # with no directory that says why: its run.json would hold the secret
    try:
        place = find_place()
        directory = prepare(config, multirun, place, stack)
    except (UserError, OSError) as error:
        if not multirun:
            print(f"error: {user_error(error) or error}", file=sys.stderr)
            sys.exit(1)
        if isinstance(error, OccupiedError):  # whose status.json is for others to write
            print(f"error: {error}", file=sys.stderr)
        elif leads(place):
            refuse(error)
        return float("nan")
    told = " ".join(HydraConfig.get().overrides.task)
    try:
        status = launch.start("inkwash.fit", directory, config.trainer.accelerator, config.trainer.devices, place, told)
    except SystemExit:  # a signal
        if leads(place):
            rundir.write_status(directory, "stopped")
        raise
    if not leads(place):
        if status != 0 and not multirun:
            sys.exit(status)
        return float("nan")
    if status in launch.STOPPED and not multirun:
        rundir.write_status(directory, "stopped")
        sys.exit(status)
    if status != 0:
        report = directory / "error.txt"
        untold = "its processes were killed, or had no room to say why"
        write_failure(directory, report.read_text("utf-8").strip() if report.exists() else untold)
        if not multirun:
            sys.exit(launch.exit_code(status))
        return float("nan")
    next_config.settle(directory)
    rundir.write_status(directory, "pruned" if trials.pruned(directory) else "finished")
    summary = json.loads((directory / "summary.json").read_text())
    if not multirun:
        print(f"{directory}    next: make sample run={directory} num_images=64")
    return next(iter(summary["metrics"].values()), {"value": float("nan")})["value"]


def write_failure(directory: Path, error: str) -> None:
    """Also on a full disk, of which the ranks have told, if the room of the old status does."""
    try:
        rundir.write_status(directory, "failed", error=error)
    except OSError:
        with contextlib.suppress(OSError):
            (directory / "status.json").unlink(missing_ok=True)
            rundir.write_status(directory, "failed", error=error)


def leads(place: Place | None) -> bool:
    """Whether this process speaks for the job: the only one, or the first rank's."""
    return place is None or place.rank == 0


def prepare(config: DictConfig, multirun: bool, place: Place | None, stack: contextlib.ExitStack) -> Path:
    """Check everything that needs no torch, decide the run directory and write what the ranks read there.

    Args:
        stack: holds the directory for this process, for as long as it is open.
    """
    if missing := [key for key in PARTS if key not in config]:  # somebody's own file
        raise UserError(f"{missing[0]} is missing: the file of a training begins with `defaults: [train]`")
    check(config)
    check_place(place, config.trainer)
    if config.resume not in ("auto", "must", "never"):
        raise UserError(f"resume={config.resume} must be auto, must or never")
    if config.compile not in (True, False, "must"):
        raise UserError(f"compile={config.compile} must be true, false or must")
    directory = job_directory() if multirun else named_directory(config, place)
    if directory is not None and not leads(place):
        return directory
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain = {key: value for key, value in plain.items() if key not in rundir.OF_THE_LAUNCH}
    if config.init_from is not None:
        rundir.find_weights(config.init_from)
    if directory is not None:
        check_files(directory)
        if not directory.exists():
            check_resume(directory, config.resume, plain)  # before there is anything to leave behind
        directory.mkdir(parents=True, exist_ok=True)
        stack.enter_context(alone(directory))
        check_resume(directory, config.resume, plain)
    elif config.resume == "must":
        raise UserError("resume=must needs the name of a run: pass run=NAME")
    else:
        directory = rundir.new_directory(rundir.RUNS, made_up_name())
        stack.enter_context(alone(directory))
    if candidates(directory):
        stack.callback(put_back, directory, multirun, remembered(directory))
        rundir.write_next_config(directory, plain)
    else:
        rundir.write_config(directory, plain)
    write_about(directory, config.resume, rundir.config_hash(plain))
    rundir.write_status(directory, "running")
    if not multirun:
        rundir.point_latest(directory)
    return directory


def job_directory() -> Path:
    """A sweep's directory for this job, which the sweeper named."""
    settings = HydraConfig.get()
    return Path(settings.sweep.dir, settings.sweep.subdir)


def named_directory(config: DictConfig, place: Place | None) -> Path | None:
    """runs/NAME for run=NAME, or for a step of a SLURM job, which finds its run again when it is put back in the queue.

    Raises:
        UserError: no name, for processes that cannot make one up together.
    """
    name = config.run or job_name()
    if name is None and place is not None:
        raise UserError(f"{place.launcher} starts several processes, which must know the run's name: pass run=NAME")
    return None if name is None else rundir.RUNS / rundir.safe_name("run", name)


def made_up_name() -> str:
    """What is trained, and when."""
    choices = HydraConfig.get().runtime.choices
    parts = [str(choices.get(group, "")) for group in ("data", "model", "schedule", "prediction")]
    return "-".join([*filter(None, parts), rundir.stamp()])


def write_about(directory: Path, resume: str, config_hash: str | None) -> None:
    """run.json: what belongs to the run and to this start of it, but not to its configuration."""
    settings, before = HydraConfig.get(), read_about(directory)
    # Of the run, not of this start: a resumed run is the same run to W&B. One that begins again otherwise is another.
    same = before and (candidates(directory) or before.get("config_hash") == config_hash)
    about = {
        "id": before["id"] if same else new_id(settings.mode == RunMode.MULTIRUN),
        **{key: before[key] for key in ("imported",) if key in before},
        "overrides": typed(),
        "choices": {k: v for k, v in settings.runtime.choices.items() if isinstance(v, str) and "hydra" not in k},
        "sweep": Path(settings.sweep.dir).name if settings.mode == RunMode.MULTIRUN else None,
        "resume": resume,
        "config_hash": config_hash,
        **rundir.provenance(),
    }
    rundir.write_text(directory / "run.json", json.dumps(about, indent=2) + "\n")


def typed() -> list[str]:
    """The command line's overrides: ${...} as it stands there, which may be a secret once it is resolved."""
    plain: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    return plain


def new_id(multirun: bool) -> str:
    """The W&B run's: that of the agent of a W&B sweep, which waits for it, or one of our own."""
    given = None if multirun else os.environ.get("WANDB_RUN_ID")
    return given or uuid.uuid4().hex[:8]


def refuse(error: Exception) -> None:
    """Give a sweep's job that cannot start a directory all the same, which says why."""
    directory = job_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(UserError):  # run.json is damaged, which may be the error
        write_about(directory, "auto", None)
    rundir.write_status(directory, "failed", error=str(error))


def main() -> None:
    if {"-m", "--multirun"} & {*sys.argv} and find_place() is not None:
        sys.exit("error: a sweep starts its jobs itself: run it once, without torchrun or srun")
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key == "sweep" and value != "null":
            try:
                rundir.safe_name(key, value)
            except UserError as error:
                sys.exit(f"error: {error}")
    command.run(train, "train")


if __name__ == "__main__":
    # By its importable name, under which a launcher's other processes find `train`.
    from inkwash.train import main as importable_main

    importable_main()

"""`inkwash train`: compose a configuration, check it, prepare the run directory and start the job's processes.

No torch in this process: a misspelt key is reported within half a second. `inkwash sweep` calls `train` once for each
combination.
"""

import contextlib
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inkwash.commands.auto_data import check_shape, find, is_auto, with_stand_ins
from inkwash.config import cli
from inkwash.config.renames import in_todays_names
from inkwash.config.secrets import refuse_secrets
from inkwash.config.validate import check_training
from inkwash.errors import UserError, user_error
from inkwash.launch.environment import RankEnv, check_rank_env, slurm_run_name
from inkwash.launch.report import say
from inkwash.launch.signals import STOPPED
from inkwash.launch.start import exit_code, start
from inkwash.runs.command_line import command, from_run
from inkwash.runs.config_file import OF_THE_LAUNCH, config_hash
from inkwash.runs.directory import DONE, RUNS, RunDirectory, find_weights
from inkwash.runs.lock import OccupiedError, alone
from inkwash.runs.names import new_directory, safe_name, stamp
from inkwash.runs.provenance import provenance
from inkwash.runs.resume_check import check_files, check_resume, measured_as_before, put_back, remembered
from inkwash.sweeps.trial import was_pruned

FAILED = float("nan")  # for sweepers
SEARCHED = ("hydra.searchpath", "hydra.job.env_")  # of Hydra's settings, those that a run depends on


def train(config: DictConfig) -> float:
    """Run one job and return its first metric; NaN if it failed or this is not the command of rank 0."""
    if is_of_a_run():
        stored: Any = OmegaConf.to_container(config)
        config = OmegaConf.create(in_todays_names(stored))
    with contextlib.ExitStack() as stack:
        return _train(config, stack)


def is_of_a_run() -> bool:
    """Tell whether this trains a run's own config.yaml again: --config-dir RUN --config-name config."""
    sources = HydraConfig.get().runtime.config_sources
    return any(
        source.provider == "inkwash-conf" and RunDirectory(source.path).record_path.is_file() for source in sources
    )


def _train(config: DictConfig, stack: contextlib.ExitStack) -> float:
    """Run one job. The stack holds the lock of the run directory until it is closed."""
    multirun, env = is_multirun(), None
    refuse_secrets(typed())  # before there is a directory, whose run.json would hold the secret
    try:
        env = RankEnv.given()
        run = prepare(config, env, stack)
    except (UserError, OSError) as error:
        return _refused(error, env)
    try:
        status = start(
            "inkwash.jobs.train:train", run.config_path, config.trainer.accelerator, config.trainer.devices,
            env, " ".join(HydraConfig.get().overrides.task),
        )  # fmt: skip
    except SystemExit:  # a signal
        if leads(env):
            run.write_status("stopped")
        raise
    if not leads(env):
        if status != 0 and not multirun:
            sys.exit(status)
        return FAILED
    if status in STOPPED and not multirun:
        run.write_status("stopped")
        sys.exit(status)
    if status != 0:
        silent = "its processes were killed, or had no space to write why"
        write_failure(run, run.error_path.read_text("utf-8").strip() if run.error_path.exists() else silent)
        if not multirun:
            sys.exit(exit_code(status))
        return FAILED
    run.accept_next_config()
    run.write_status("pruned" if was_pruned(run) else "finished")
    if not multirun:
        print(f"{run}    next: make sample run={run} num_images=64")
    return next(iter(run.summary["metrics"].values()), {"value": FAILED})["value"]


def _refused(error: Exception, env: RankEnv | None) -> float:
    """Report a job that cannot start: a sweep goes on with its next one."""
    if not is_multirun():
        print(f"error: {user_error(error) or error}", file=sys.stderr)
        sys.exit(1)
    if isinstance(error, OccupiedError):  # the training that is there writes status.json
        print(f"error: {error}", file=sys.stderr)
    elif leads(env):
        refuse(error)
    return FAILED


def refuse(error: Exception) -> None:
    """Make the directory of a sweep's job that cannot start, with a status that says why."""
    run = job_directory()
    run.path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(UserError):  # run.json is damaged, which may be the error
        write_record(run, "auto", None)
    run.write_status("failed", error=str(error))


def write_failure(run: RunDirectory, error: str) -> None:
    """Write a failed status; on a full disk in the place of the old status."""
    try:
        run.write_status("failed", error=error)
    except OSError:
        with contextlib.suppress(OSError):
            run.status_path.unlink(missing_ok=True)
            run.write_status("failed", error=error)


def drop_failed_start(run: RunDirectory, latest: str | None) -> None:
    """Delete the new directory of a training that has ended before its first step; its error was printed.

    Args:
        latest: where runs/latest led before.
    """
    if run.status["state"] in DONE or run.has_begun:
        return
    shutil.rmtree(run.path, ignore_errors=True)
    if run.latest == run.path.name:
        with contextlib.suppress(OSError):
            (run.path.parent / "latest").unlink()
        if latest is not None:
            run.point_latest(latest)
    with contextlib.suppress(OSError):  # there are other runs
        run.path.parent.rmdir()


def renew_page(run: RunDirectory) -> None:
    """Write report.html anew if the training wrote one; nothing that fails here fails the job."""
    if not run.report_path.exists():
        return
    try:
        from inkwash.reports.run_report import write_run_report  # not at the top: it imports numpy

        write_run_report(run)
    except Exception as error:  # a full disk, perhaps: the page that is there stays
        print(f"{run.report_path} could not be written at the end: {error}", file=sys.stderr)


def is_multirun() -> bool:
    """Tell whether this is a job of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def leads(env: RankEnv | None) -> bool:
    """Tell whether this process writes for the job: it is the only one, or that of rank 0."""
    return env is None or env.rank == 0


def prepare(config: DictConfig, env: RankEnv | None, stack: contextlib.ExitStack) -> RunDirectory:
    """Check everything that needs no torch, choose the run directory and write what the ranks read there.

    Args:
        stack: locks the directory for this process until it is closed; then the page is written with the outcome, and
            a new directory in which no training has begun is deleted.
    """
    check_shape(config)
    check_training(with_stand_ins(config))
    check_rank_env(env, config.trainer)
    run = job_directory() if is_multirun() else named_directory(config, env)
    find_data(config, run, env)
    if run is not None and not leads(env):
        return run
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain = {key: value for key, value in plain.items() if key not in OF_THE_LAUNCH}
    if config.init_from is not None:
        find_weights(config.init_from)
    if run is None:
        if config.resume == "must":
            raise UserError("resume=must needs the name of a run: pass run=NAME")
        run = RunDirectory(new_directory(RUNS, made_up_name()))
        stack.enter_context(alone(run))
        is_new = True
    else:
        check_files(run)
        if is_new := not run.path.exists():
            check_resume(run, config.resume, plain)  # before there is anything to leave behind
        run.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(alone(run))
        check_resume(run, config.resume, plain)
    if is_new and not is_multirun() and env is None:  # else other ranks may still write to it
        stack.callback(drop_failed_start, run, run.latest)
    stack.callback(renew_page, run)  # called after put_back
    if run.checkpoints.newest_first():
        plain = measured_as_before(run.config, plain, typed())
        stack.callback(put_back, run, is_multirun(), remembered(run))
        run.write_next_config(plain)
    else:
        run.write_config(plain)
    write_record(run, config.resume, config_hash(plain))
    run.write_status("running")
    if not is_multirun():
        run.point_latest()
    return run


def find_data(config: DictConfig, run: RunDirectory | None, env: RankEnv | None) -> None:
    """Replace what is `auto` in config.data, by the run's own values if it goes on, and say what was found."""
    if not is_auto(config):
        return
    goes_on = run is not None and run.checkpoints.newest_first()
    for line in find(config, run.config["data"] if run is not None and goes_on else None):
        if leads(env):
            say(line)
    check_training(config)


def job_directory() -> RunDirectory:
    """Return the directory that the sweeper has named for this job."""
    settings = HydraConfig.get()
    return RunDirectory(Path(settings.sweep.dir, settings.sweep.subdir))


def named_directory(config: DictConfig, env: RankEnv | None) -> RunDirectory | None:
    """Return runs/NAME for run=NAME, or for a SLURM step, which finds its run again after a requeue; else None.

    Raises:
        UserError: there is no name, but several processes, which cannot make one up together.
    """
    name = config.run or slurm_run_name()
    if name is None and env is not None:
        raise UserError(f"{env.launcher} starts several processes, which must know the run's name: pass run=NAME")
    return None if name is None else RunDirectory(RUNS / safe_name("run", name))


def made_up_name() -> str:
    """Name a run by what is trained, and when."""
    choices = HydraConfig.get().runtime.choices
    parts = [str(choices.get(group, "")) for group in ("data", "model", "schedule", "prediction")]
    return "-".join([*filter(None, parts), stamp()])


def write_record(run: RunDirectory, resume: str, config_hash: str | None) -> None:
    """Write run.json: what belongs to the run and to this start of it, but not to its configuration."""
    settings, before = HydraConfig.get(), run.record
    # A resumed run is the same run to W&B; one that begins again with another configuration is not.
    same = before and (run.checkpoints.newest_first() or before.get("config_hash") == config_hash)
    run.write_record(
        {
            "id": before["id"] if same else new_id(),
            **{key: before[key] for key in ("imported", "data") if key in before},
            "overrides": typed(),
            "command": command(arguments()),
            "choices": {k: v for k, v in settings.runtime.choices.items() if isinstance(v, str) and "hydra" not in k},
            "sweep": Path(settings.sweep.dir).name if is_multirun() else None,
            "resume": resume,
            "config_hash": config_hash,
            **provenance(),
        }
    )


def typed() -> list[str]:
    """Return the overrides of the command line unresolved: ${oc.env:...} may be a secret once it is resolved."""
    plain: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    return plain


def arguments() -> list[str]:
    """Return what must be typed to compose this configuration again: folders and names of YAML files, and overrides."""
    settings = HydraConfig.get()
    folders = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
    name = settings.job.config_name
    searched = [override for override in settings.overrides.hydra if override.lstrip("+").startswith(SEARCHED)]
    return [
        *(f"--config-dir={folder}" for folder in folders),
        *([f"--config-name={name}"] if name not in (None, "train") else []),
        *searched,
        *typed(),
    ]


def new_id() -> str:
    """Return the id of a new W&B run: the one that the agent of a W&B sweep waits for, else a new one."""
    given = None if is_multirun() else os.environ.get("WANDB_RUN_ID")
    return given or uuid.uuid4().hex[:8]


def main() -> None:
    """Run `inkwash train`, or `inkwash sweep` with --multirun."""
    if {"-m", "--multirun"} & {*sys.argv} and RankEnv.given() is not None:
        sys.exit("error: a sweep starts its jobs itself: run it once, without torchrun or srun")
    try:
        sys.argv[1:] = from_run(sys.argv[1:])
        for argument in sys.argv[1:]:
            key, _, value = argument.partition("=")
            if key == "sweep" and value != "null":
                safe_name(key, value)
    except UserError as error:
        sys.exit(f"error: {error}")
    cli.run(train, "train")

"""Prepare a training: check its configuration, choose and lock the run directory, write what the ranks read there.

Without torch, as all that a command does before its ranks start.
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

from inkwash.autoencoders import refusals
from inkwash.commands.auto_keys import check_shape, is_auto, with_stand_ins
from inkwash.config.validate import check_training
from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv, check_rank_env, is_requeued, slurm_run_name
from inkwash.launch.report import say
from inkwash.runs.command_line import DEFAULTS, command
from inkwash.runs.config_file import OF_THE_LAUNCH, config_hash
from inkwash.runs.directory import DONE, RUNS, RunDirectory, find_weights
from inkwash.runs.lock import alone
from inkwash.runs.names import new_directory, safe_name, stamp
from inkwash.runs.provenance import provenance
from inkwash.runs.resume_check import check_files, check_resume, measured_as_before, put_back, remembered

SEARCHED = ("hydra.searchpath", "hydra.job.env_")  # of Hydra's settings, those that a run depends on


def prepare(config: DictConfig, env: RankEnv | None, stack: contextlib.ExitStack) -> RunDirectory:
    """Check everything that needs no torch, choose the run directory and write what the ranks read there.

    Args:
        stack: locks the directory for this process until it is closed; then the page is written with the outcome, and
            a new directory in which no training has begun is deleted.
    """
    check_shape(config)
    check_training(with_stand_ins(config))
    check_latents(config)
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


def check_latents(config: DictConfig) -> None:
    """Raise UserError for what makes no sense for a training on latents."""
    if config.get("autoencoder") is not None:
        plain: Any = OmegaConf.to_container(with_stand_ins(config), resolve=True)
        refusals.check_training(plain)


def find_data(config: DictConfig, run: RunDirectory | None, env: RankEnv | None) -> None:
    """Replace what is `auto` in config.data, by the run's own values if it goes on, and say what was found."""
    if not is_auto(config):
        return
    from inkwash.commands.auto_data import find  # not at the top: it imports numpy and pyarrow

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

    A step of one task may be a shell, `srun --pty bash`, in which the next training is another run.

    Raises:
        UserError: there is no name, but several processes, which cannot make one up together.
    """
    name = config.run or slurm_run_name()
    if name and not config.run and env is None and not is_requeued() and (RUNS / name).exists():
        name = None
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
            **{key: before[key] for key in ("imported", "data", "step_seconds", "step_timed_on") if key in before},
            "overrides": typed(),
            "command": command(arguments()),
            "choices": {k: v for k, v in settings.runtime.choices.items() if isinstance(v, str) and "hydra" not in k},
            "sweep": Path(settings.sweep.dir).name if is_multirun() else None,
            "resume": resume,
            "defaults": DEFAULTS,
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

"""`inkwash train`: compose a configuration, start the job's processes and record how they end.

No torch in this process: a misspelt key is reported within half a second. `inkwash sweep` calls `train` once for each
combination.
"""

import contextlib
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from inkwash.commands.preparation import is_multirun, job_directory, leads, prepare, typed, write_record
from inkwash.config import cli
from inkwash.config.renames import in_todays_names
from inkwash.config.secrets import refuse_secrets
from inkwash.errors import UserError, user_error
from inkwash.launch.environment import RankEnv
from inkwash.launch.signals import STOPPED
from inkwash.launch.start import exit_code, start
from inkwash.runs.command_line import from_run
from inkwash.runs.directory import RunDirectory
from inkwash.runs.lock import OccupiedError
from inkwash.runs.names import safe_name
from inkwash.sweeps.trial import was_pruned

FAILED = float("nan")  # for sweepers


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
        print(f"{run}    next: {_next(run)}")
    return next(iter(run.summary["metrics"].values()), {"value": FAILED})["value"]


def _next(run: RunDirectory) -> str:
    """Return the command that uses a finished run."""
    if run.autoencoder.is_dir() and run.config.get("autoencoder") is None:  # experiment=autoencoder
        return f"make train autoencoder=kl autoencoder.path={run}"
    return f"make sample run={run} num_images=64"


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

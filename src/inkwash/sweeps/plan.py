"""Plan a sweep: its directory, the overrides and the names of its jobs, and what is refused."""

import hashlib
import itertools
import random
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, read_write

from inkwash.errors import UserError
from inkwash.files import write_text
from inkwash.launch.start import visible_gpus
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.names import safe_name, stamp
from inkwash.runs.overview import COMMAND, is_run

OF_THE_SWEEP = ("sweeper", "launcher")


@cache
def sweep_name(name: str | None) -> str:
    """Return the name of the sweep's directory below runs/, the same at every call in this process."""
    letters = "".join(random.SystemRandom().choices("bcdfghjkmnpqrstvwxz", k=3))
    return safe_name("sweep", name) if name else f"sweep-{stamp()}-{letters}"


def job_name(varied: Sequence[str], overrides: Sequence[str]) -> str:
    """Name the directory of a job: the overrides that vary, and 8 digits of a hash of all of its overrides.

    So a repeated sweep finds its jobs, and another sweep of the same name does not take them for its own.
    """
    text = re.sub(r"\d+\.\d+(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", "_".join(varied))
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-_.") or "job"
    own = sorted(o for o in overrides if o.lstrip("+~").partition("=")[0] not in (*OF_THE_LAUNCH, *OF_THE_SWEEP))
    return f"{text[:100]}-{hashlib.sha256('_'.join(own).encode()).hexdigest()[:8]}"


MOST = 10_000  # combinations: each is composed before the first one starts


def begin(config: DictConfig) -> None:
    """Refuse what cannot work, and fix the sweep's directory for every process that composes one of its jobs."""
    if config.run is not None:
        raise UserError(f"run={config.run} names one run: a sweep of several is named by sweep={config.run}")
    directory = Path(config.hydra.sweep.dir)
    for folder in (directory.parent, directory):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"sweep={directory.name}: {folder} is a file, not a folder: choose another sweep=NAME")
    if is_run(directory) and not (directory / COMMAND).is_file():
        raise UserError(f"sweep={directory.name}: {directory} is a run: choose another sweep=NAME")
    refuse_launcher(config)
    with read_write(config):
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")


def refuse_launcher(config: DictConfig) -> None:
    """Raise UserError if jobs side by side would all use the same GPUs, or need more GPUs than each gets."""
    launcher, settings = str(config.hydra.launcher._target_).rpartition(".")[2], config.hydra.launcher
    together = launcher == "JoblibLauncher" and settings.n_jobs != 1
    together |= launcher == "SlotsLauncher" and settings.gpus is None and settings.jobs != 1
    if together and config.trainer.accelerator in ("auto", "gpu") and visible_gpus():
        name = "joblib" if launcher == "JoblibLauncher" else "parallel"
        raise UserError(f"launcher={name} would run all jobs on the same GPUs: pass launcher=gpus, or trainer=cpu")
    shared = launcher == "SlotsLauncher" and settings.gpus is not None and config.trainer.accelerator != "cpu"
    if shared and (devices := config.trainer.devices) not in ("auto", settings.gpus_per_job):
        raise UserError(
            f"trainer.devices={devices}, but launcher=gpus gives each job {settings.gpus_per_job} GPU: pass "
            f"hydra.launcher.gpus_per_job={devices}, or trainer.devices=auto"
        )


def refuse_counts(overrides: Iterable[Override]) -> None:
    """Raise UserError for an empty list of values, or for more than MOST combinations."""
    combinations = 1
    for override in (override for override in overrides if override.is_discrete_sweep()):
        value = override.value()
        try:
            values = value.range() if isinstance(value, RangeSweep) else override.sweep_iterator()
            count = sum(1 for _ in itertools.islice(values, MOST + 1))
        except ValueError as error:
            raise UserError(f"{override.input_line}: {error}") from error
        combinations *= count
        if count == 0:
            raise UserError(f"{override.input_line} lists no values")
        if combinations > MOST:
            raise UserError(f"{override.input_line} makes more than {MOST:,} combinations: list fewer values")


def combinations(overrides: Iterable[Override]) -> list[list[str]]:
    """List the overrides of each job: every choice of one value from each override that has several."""
    choices: dict[str, list[str]] = {}  # of a key that is typed twice the last one counts
    for override in overrides:
        key = override.get_key_element()
        several = override.is_sweep_override()
        values = override.sweep_string_iterator() if several else [override.get_value_element_as_str()]
        choices[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*choices.values())]


def announce(config: DictConfig, what: str) -> None:
    """Print how many jobs will run, and the command that continues the sweep; write the command to command.txt."""
    directory = Path(config.hydra.sweep.dir)
    directory.mkdir(parents=True, exist_ok=True)
    given: Any = OmegaConf.to_container(config.hydra.overrides)  # ${...} as it was typed
    ours = [o for o in given["hydra"] if o.lstrip("+~").startswith(("hydra.launcher", "hydra.sweeper"))]
    typed = [*given["task"], *ours]
    others = [override for override in typed if not override.startswith("sweep=")]
    command = shlex.join(["make", "sweep", f"sweep={directory.name}", *others])
    write_text(directory / COMMAND, command + "\n")
    print(f"{directory}    {what}; to go on after an interruption: {command}", flush=True)

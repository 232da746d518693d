"""A run's directory: how it is called, which jobs get which, and what lies in it besides weights. No torch."""

import contextlib
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.errors import NAMES, UserError, writing
from inkwash.training import next_config

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RUNS = Path("runs")
SAFE = re.compile(r"[A-Za-z0-9._-]+")
# Lets `--config-dir RUN --config-name config` run config.yaml again as conf/train.yaml would.
HEADER = {
    "defaults": [
        "train_schema",
        *({f"override hydra/{log}": "none"} for log in ("job_logging", "hydra_logging")),
        "_self_",
    ],
    "hydra": {"run": {"dir": "."}, "output_subdir": None, "job": {"chdir": False}},
}
OF_THE_LAUNCH = {"run": None, "sweep": None, "resume": "auto"}
OF_THE_SWEEP = ("sweeper", "launcher")
DONE = ("finished", "pruned")


def stamp() -> str:
    """When, for a directory's name: month, day and time."""
    return datetime.now().strftime("%m%d-%H%M%S")


@cache
def sweep_name(name: str | None) -> str:
    """The sweep's directory below runs/, the same whenever this process asks."""
    letters = "".join(random.SystemRandom().choices("bcdfghjkmnpqrstvwxz", k=3))
    return safe_name("sweep", name) if name else f"sweep-{stamp()}-{letters}"


def safe_name(key: str, name: str) -> str:
    """The name, if it can be a directory that no shell and no Hydra command line stumbles over."""
    if not SAFE.fullmatch(name) or name.startswith((".", "-")) or name == "latest" or len(name) > 200:
        raise UserError(
            f"{key}={' '.join(name.split())[:60]} must be letters, digits, '.', '_' and '-', 200 at most, the first a "
            "letter or digit, and not `latest`"
        )
    return name


def new_directory(parent: Path, name: str) -> Path:
    """Create parent/name, or parent/name-2, ...: exactly one of any number of simultaneous callers gets each."""
    for count in range(1, 10_000):
        directory = parent / (name if count == 1 else f"{name}-{count}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory
    raise UserError(f"{parent} holds 10,000 runs called {name}: pass run=NAME")


def find_run(name: str) -> Path:
    """The run directory: a path, or a name below runs/."""
    for directory in (Path(name), RUNS / name):
        if (directory / "config.yaml").is_file():
            return directory
    raise UserError(f"run={name} is no run directory: neither {name} nor {RUNS / name} has a config.yaml")


def find_weights(name: str) -> Path:
    """init_from: a checkpoint, or a run, given by its directory or its name below runs/."""
    try:
        return Path(name) if Path(name).is_file() else find_run(name)
    except UserError as error:
        raise UserError(f"init_from={name} is neither a checkpoint nor a run directory") from error


def point_latest(directory: Path) -> None:
    """Make runs/latest a link to the directory."""
    link = directory.parent / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        link.symlink_to(directory.name)
        os.replace(link, directory.parent / "latest")


def job_name(varied: Sequence[str], overrides: Sequence[str]) -> str:
    """A directory name for a sweep's job: what sets it apart, and 8 digits that stand for all of its overrides.

    So a repeated sweep finds its jobs, and one of the same name with other overrides does not take them for its own.
    """
    text = re.sub(r"\d+\.\d+(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", "_".join(varied))
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-_.") or "job"
    kept = sorted(o for o in overrides if o.lstrip("+~").partition("=")[0] not in (*OF_THE_LAUNCH, *OF_THE_SWEEP))
    return f"{text[:100]}-{hashlib.sha256('_'.join(kept).encode()).hexdigest()[:8]}"


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """config.yaml: resolved, all that sampling and a repetition need."""
    next_config.drop(directory)
    _write_config(directory / "config.yaml", config)


def write_next_config(directory: Path, config: dict[str, Any]) -> None:
    """The same for a resume, whose checkpoints will make it config.yaml (training/next_config.py)."""
    _write_config(next_config.path(directory), config)


def _write_config(path: Path, config: dict[str, Any]) -> None:
    write_text(path, OmegaConf.to_yaml({**HEADER, **OF_THE_LAUNCH, **config}))


def read_next_config(directory: Path) -> dict[str, Any]:
    """What to train: that of a resume, where there is one."""
    path = next_config.path(directory)
    return _read_config(path) if path.is_file() else read_config(directory)


def read_config(directory: Path) -> dict[str, Any]:
    """What write_config was given. Raises UserError for a config.yaml that holds something else."""
    return _read_config(directory / "config.yaml")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        # Names of names of names, of which we write none, make a small file grow without end.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            raise UserError(f"{path} has YAML aliases, which no run has: it is not of Inkwash")
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): restore it from a copy") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is no configuration: restore it from a copy")
    return {str(key): value for key, value in config.items() if key not in {**HEADER, **OF_THE_LAUNCH}}


def config_hash(config: dict[str, Any]) -> str:
    """12 hexadecimal digits that name a resolved configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    with writing(partial):
        partial.write_text(text, "utf-8", NAMES)
        os.replace(partial, path)


def make_folder(key: str, folder: Path) -> Path:
    """Create the folder that a key names, unless it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={folder} cannot be made a folder ({error.strerror}): choose another") from error
    return folder


def provenance() -> dict[str, Any]:
    """Commit, whether the checkout differs from it, and versions of what matters."""
    packages = ("torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "wandb")
    return {
        "commit": commit(),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
    }


@cache
def commit() -> str | None:
    """The checkout's, None in an installation."""
    return _git("rev-parse", "HEAD")


@cache
def version() -> str | None:
    """The commit, -dirty where the checkout differs from it."""
    return f"{commit()}-dirty" if _git("status", "--porcelain") else commit()


def _git(*arguments: str) -> str | None:
    try:
        where = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_status(directory: Path, state: str, **more: Any) -> None:
    """status.json: running, finished, pruned, stopped or failed."""
    write_text(directory / "status.json", json.dumps({"state": state, "time": time.time(), **more}, indent=2) + "\n")


def read_status(directory: Path) -> dict[str, Any]:
    """What write_status wrote; of state `lost` where it wrote nothing, or the file is damaged."""
    try:
        status = read_json(directory / "status.json")
    except UserError:
        status = {}
    return status if isinstance(status.get("state"), str) else {"state": "lost"}


def read_json(path: Path) -> dict[str, Any]:
    """One of the JSON files of a run. Raises UserError where it is missing or holds something else."""
    if not path.is_file():
        raise UserError(f"{path} is missing, or no file: restore it from a copy")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a copy") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (it is no dictionary): restore it from a copy")
    return found

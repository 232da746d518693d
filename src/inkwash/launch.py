"""A job is a directory and a group of processes: this side decides the first and starts the second, without torch."""

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.cluster import Place
from inkwash.errors import UserError
from inkwash.training.processes import SIGNALS

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
# What a job exits with after a signal: 130, 143, 138 and 140.
STOPPED = tuple(128 + number for number in SIGNALS)
GRACE_SECONDS = 45


def config_dir() -> str:
    """conf/: beside src/ in a checkout, inside the package when installed from a wheel."""
    inside = Path(__file__).parent / "conf"
    return str(inside if inside.is_dir() else Path(__file__).parents[2] / "conf")


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
    write_text(directory / "config.yaml", OmegaConf.to_yaml({**HEADER, **OF_THE_LAUNCH, **config}))


def read_config(directory: Path) -> dict[str, Any]:
    """What write_config was given. Raises UserError for a config.yaml that holds something else."""
    path = directory / "config.yaml"
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


def exit_code(status: int) -> int:
    """A process's status as a shell gives it: 128 + n for one that signal n ended."""
    return status if status >= 0 else 128 - status


def config_hash(config: dict[str, Any]) -> str:
    """12 hexadecimal digits that name a resolved configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    os.replace(partial, path)


def provenance() -> dict[str, Any]:
    """Commit, whether the checkout differs from it, and versions of what matters."""
    packages = ("torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "wandb")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
    }


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
    """What write_status wrote; of state `lost` where it wrote nothing."""
    path = directory / "status.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"state": "lost"}


def visible_gpus() -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, or those of the machine, without torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU \d+", listed, re.MULTILINE)))]


def start(
    module: str, directory: Path, accelerator: str, devices: int | str, place: Place | None = None, told: str = ""
) -> int:
    """Run `python -m module directory` on every rank, wait, and return the exit status.

    The processes form sessions of their own, so that nothing of one job reaches the next. Signals are passed on: a
    training saves and stops (callbacks/signals.py). They end this process too once the job is over.

    Args:
        place: of this process among those that torchrun or srun has started: then it starts one rank, its own.
        told: what the command line asked for, which must be the same on all of them.
    """
    if place is not None:
        return _start_rank(module, directory, place, told)
    command = [sys.executable, "-u", "-m", "inkwash.agent", module, str(directory), accelerator, str(devices)]
    agent = subprocess.Popen(command, start_new_session=True)
    return _wait(agent, lambda: os.killpg(agent.pid, signal.SIGKILL))


def _start_rank(module: str, directory: Path, place: Place, told: str) -> int:
    """One rank, in the session it was counted in, where its launcher finds it."""
    report = directory / f"error-rank-{place.rank}.txt"
    for stale in [report, *([directory / "error.txt"] if place.rank == 0 else [])]:
        stale.unlink(missing_ok=True)
    variables = {**place.variables(), "INKWASH_TOLD": told}
    rank = subprocess.Popen([sys.executable, "-u", "-m", module, str(directory)], env={**os.environ, **variables})
    status = exit_code(_wait(rank, rank.kill))
    if status and report.exists():
        print(text := report.read_text("utf-8").rstrip(), file=sys.stderr)
        if place.rank == 0:
            write_text(directory / "error.txt", text + "\n")
    return status


def _wait(process: subprocess.Popen, kill: Callable[[], None]) -> int:
    """Its exit status. Signals go to it; after the first one this process ends with it."""
    with _forwarding(process, kill) as received:
        status = process.wait()
    if received:
        number, handler = received[0]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)  # submitit's, which puts the job back into SLURM's queue
        # Not an exception: a sweep would go on with its next job.
        sys.exit(128 + number)
    return status


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen, kill: Callable[[], None]) -> Iterator[list[tuple[int, Any]]]:
    """Pass signals on, and list them, each with who would have handled it."""
    received: list[tuple[int, Any]] = []

    def forward(number: int, _frame: Any) -> None:
        received.append((number, before[number]))
        process.send_signal(number)
        signal.signal(signal.SIGALRM, lambda *_: kill())
        signal.alarm(GRACE_SECONDS)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, forward)
    try:
        yield received
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)

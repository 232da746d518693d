"""Hydra's own settings, the keys hydra.*: which of them may be set, and by whom.

Run directories, logs and sweeps are ours, so most of Hydra's settings would have no effect, or a wrong one. On a
command line those are refused with what to type instead. In a YAML file, which may come from anywhere, they are refused
too, and so is what Hydra would call before any other check: callbacks, handlers of logs, launchers and sweepers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inkwash.config.trust import refuse_strangers
from inkwash.errors import UserError

ENV_SET = "hydra.job.env_set"
# What a command line may set: what is meant for launchers and sweepers, folders with YAML files, variables of jobs.
ALLOWED = (
    "hydra.launcher", "hydra.sweeper", "hydra/launcher", "hydra/sweeper", "hydra.searchpath", "hydra.mode",
    ENV_SET, "hydra.job.env_copy",
)  # fmt: skip
PLACE = "pass run=NAME, and the run is runs/NAME in the folder where the command is started"
OUT = "pass out=PATH"
INSTEAD = {
    "hydra.run": PLACE,
    "hydra.sweep": "pass sweep=NAME, and the sweep is runs/NAME in the folder where the command is started",
    "hydra.output_subdir": "leave it out: config.yaml and run.json of the run directory have what Hydra would write",
    "hydra.job.chdir": "leave it out: every path is relative to the folder where the command is started",
    "hydra.job.name": PLACE,
    "hydra.callbacks": "pass +callbacks.NAME._target_=... for a callback of the training",
    "hydra.verbose": "leave it out: train.log of the run directory has the log",
    "hydra.job_logging": "leave it out: train.log of the run directory has the log",
    "hydra.hydra_logging": "leave it out: train.log of the run directory has the log",
}
OF_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
NO_LOG = {"version": 1, "root": None, "disable_existing_loggers": False}


def refuse_settings(argument: str, command: str) -> None:
    """Raise UserError for an override of one of Hydra's settings that has no effect here.

    Args:
        argument: of the command line.
        command: train, sample, ...
    """
    key = argument.partition("=")[0].lstrip("+~").partition("@")[0]
    if not key.startswith(("hydra.", "hydra/")) and key != "hydra":
        return
    if any(key == allowed or key.startswith(f"{allowed}.") for allowed in ALLOWED):
        return
    dotted = key.replace("/", ".")
    hint = next((hint for name, hint in INSTEAD.items() if dotted == name or dotted.startswith(f"{name}.")), None)
    if hint == PLACE and command in ("data", "sample", "evaluate", "export", "dashboard"):
        hint = OUT
    raise UserError(f"{argument.partition('=')[0]} has no effect here: {hint or 'leave it out'}")


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Have Hydra check each configuration that it composes, before it makes objects, folders or logs of it.

    Hydra has no public place for this: it instantiates hydra.callbacks before it calls the task. The jobs of a sweep
    are composed by the same method.
    """
    load = ConfigLoaderImpl.load_configuration

    def checking(self: Any, config_name: Any, overrides: list[str], *args: Any, **kwargs: Any) -> DictConfig:
        config = load(self, config_name, overrides, *args, **kwargs)
        check_settings(config, overrides)
        return config

    ConfigLoaderImpl.load_configuration = checking
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load


class ManyRunsError(Exception):
    """A YAML file sets hydra.mode=MULTIRUN."""


@contextlib.contextmanager
def composed_once() -> Iterator[None]:
    """Have Hydra take a command for a single run without composing its configuration, a sixth of a second, to ask.

    Raises:
        ManyRunsError: the configuration says otherwise; nothing has been called or written.
    """
    get_mode, load = Hydra.get_mode, ConfigLoaderImpl.load_configuration

    def loading(*args: Any, **kwargs: Any) -> DictConfig:
        config = load(*args, **kwargs)
        if config.hydra.mode == RunMode.MULTIRUN:
            raise ManyRunsError
        return config

    Hydra.get_mode = lambda *_, **__: RunMode.RUN
    ConfigLoaderImpl.load_configuration = loading
    try:
        yield
    finally:
        Hydra.get_mode, ConfigLoaderImpl.load_configuration = get_mode, load


def check_settings(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise UserError for settings of a YAML file that would have no effect, or that would call what is not trusted.

    Args:
        config: as Hydra has composed it, with its node `hydra`.
        overrides: the command line, which may set more than a file.
    """
    settings: Any = OmegaConf.to_container(config.hydra, resolve=False)
    refuse_strangers(settings["callbacks"], "hydra.callbacks")
    for key in ("launcher", "sweeper"):
        ours = str(settings[key].get("_target_")).startswith(OF_PLUGINS)
        refuse_strangers({k: v for k, v in settings[key].items() if not (ours and k == "_target_")}, f"hydra.{key}")
    for key in ("job_logging", "hydra_logging"):  # a handler may be any function
        if settings[key] != NO_LOG:
            raise UserError(f"hydra.{key} of a YAML file has no effect here: {INSTEAD[f'hydra.{key}']}")
    if settings["job"].get("env_set") and not any(text.lstrip("+").startswith(ENV_SET) for text in overrides):
        raise UserError(f"{ENV_SET} of a YAML file may change any program: set the variables in the shell")
    for key, value, ours in (
        ("hydra.run.dir", settings["run"]["dir"], "."),
        ("hydra.output_subdir", settings["output_subdir"], None),
        ("hydra.job.chdir", bool(settings["job"]["chdir"]), False),
    ):
        if value != ours:
            hint = next(hint for name, hint in INSTEAD.items() if key.startswith(name))
            raise UserError(f"{key}={value} of a YAML file has no effect here: {hint}")

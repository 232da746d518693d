"""From a command line to a configuration: what Hydra finds wrong with it, in one sentence."""

import contextlib
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from inkwash.config.paths import config_dir
from inkwash.config.renames import refuse_old_key
from inkwash.config.secrets import refuse_secrets
from inkwash.errors import UserError, user_error

# Advice that is of no use here, and where in the schema a key stands, which the key itself says.
NOISE = re.compile(r"\s*(full_key:|object_type=|reference_type=|See https|To append to your|Set the environment)")
# How Hydra's parser begins where it knows no rule for a letter.
LETTER = "LexerNoViableAltException: "


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """Compose conf/NAME.yaml with overrides outside of a command, in a notebook for example.

    Returns:
        The configuration with its references, which resolve when they are read: `config.model` is ready for
        `hydra.utils.instantiate`.
    """
    for override in overrides:
        refuse_old_key(override)
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(hydra.initialize_config_dir(config_dir(), version_base="1.3"))
        return hydra.compose(config_name, list(overrides))


def run(task: Callable[[DictConfig], Any], name: str) -> None:
    """Compose conf/NAME.yaml with the command line and give it to the task.

    What cannot be composed ends in one sentence, where Hydra would write a page; HYDRA_FULL_ERROR=1 shows that page.
    """
    try:
        _check_arguments(sys.argv[1:], name)
    except UserError as error:
        sys.exit(f"error: {error}")
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return _compose_and_run(task, name)
    composed = False

    @functools.wraps(task)
    def composing_ends(config: DictConfig) -> Any:
        nonlocal composed
        composed = True
        return task(config)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # has Hydra raise what it would print
    try:
        return _compose_and_run(composing_ends, name)
    except Exception as error:
        # A sweep composes each job when its turn comes, and looks at what came out of it.
        if composed and not isinstance(error, UserError | HydraException | OmegaConfBaseException):
            raise
        sys.exit(f"error: {sentence(error, name)}")
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def _check_arguments(arguments: list[str], name: str) -> None:
    """Raise UserError for what must not reach Hydra, which would say or write it, or leave files of its own."""
    refuse_secrets(arguments)
    for argument in arguments:
        refuse_old_key(argument)
        if name != "train" and argument.startswith(("-m", "--m", "hydra.mode=")):
            lists = "which takes lists of values without it" if name == "evaluate" else "which runs once for each value"
            raise UserError(f"{argument} is for train only: leave it out of {name}, {lists}")
        if any("\ud800" <= letter <= "\udfff" for letter in argument):  # as Python reads bytes that are none
            raise UserError(f"{argument!a} is no UTF-8 text: rename the file that it names")


def _compose_and_run(task: Callable[[DictConfig], Any], name: str) -> None:
    if any(argument.startswith(("--config", "-c")) for argument in sys.argv[1:]):
        # Or Hydra writes files of its own here, where somebody's own configuration does not say so.
        sys.argv += [
            "hydra.run.dir=.",
            "hydra.output_subdir=null",
            "hydra/job_logging=none",
            "hydra/hydra_logging=none",
        ]
    hydra.main(version_base="1.3", config_path=config_dir(), config_name=name)(task)()


def sentence(error: BaseException, name: str) -> str:
    """What an error of Hydra's says, on one line, with the nearest key or file that there is."""
    if mistake := user_error(error):
        return str(mistake)
    texts = [str(error)]
    if isinstance(error.__cause__, OmegaConfBaseException):
        texts.append(str(error.__cause__))
    if isinstance(error, ValueError) and (choice := _no_choice(sys.argv[1:])):
        return choice
    lines = "\n".join(texts).partition("Config search path")[0].splitlines()
    kept = dict.fromkeys(line.strip() for line in lines if line.strip() and not NOISE.match(line))
    text = " ".join(kept) or type(error).__name__
    if isinstance(error, OverrideParseException) and (typed := " ".join(error.override.split())) not in text:
        text = f"{typed[:60]}: {text}"
    if isinstance(error, RecursionError):
        text = "a value on the command line has too many brackets within each other"
    if text.startswith(LETTER) and "=" in text:
        text = f"{text.removeprefix(LETTER).rstrip(' ^')} has a letter that must stand in quotes: 'key=\"value\"'"
    text = text if len(text) <= 400 else f"{text[:397]}..."
    near = _nearest("\n".join(texts), name)
    return f"{text}{near and f'; did you mean {near}?'}"


def _no_choice(arguments: list[str]) -> str | None:
    """The override of a group that is neither a name nor a list of them, of which Hydra says only that there is one."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        files = Path(config_dir(), group).glob("*.yaml") if group.isidentifier() else []
        names = sorted(path.stem for path in files)
        if names and not isinstance(yaml.safe_load(value), str | list):
            return f"{argument} is no choice: conf/{group} has {', '.join(names)}"
    return None


def _nearest(text: str, name: str) -> str:
    """The name that an unknown one was probably meant to be, or ""."""
    if choice := re.search(r"Could not find '([^']*)'", text):
        group, _, given = choice[1].rpartition("/")
        there = [path.stem for path in Path(config_dir(), group).glob("*.yaml")]
        return next((f"{group}={found}" for found in difflib.get_close_matches(given, there, 1)), "")
    # `Key 'x' is not in struct` of a group's file, `Key 'x' not in 'Train'` of the schema.
    key = re.search(r"full_key: ([\w.]+)", text)
    if key is None or not re.search(r"Key '\w+' (is )?not in", text):
        return ""
    *parents, given = key[1].split(".")
    if not parents:
        there = ConfigStore.instance().repo[f"{name}_schema.yaml"].node
        return next(iter(difflib.get_close_matches(given, sorted({*there} - {given}), 1)), "")
    # A node may stand in several places, by reference; its keys are set where it is itself: spacing.steps.
    groups = [*reversed(parents[1:]), *_references_of(parents[0]), parents[0]]
    exact = ((group, _places(group).get(given)) for group in groups if group != parents[0])
    close = ((group, _places(group)) for group in groups)
    found = [(group, places) for group, places in exact if places]
    found += [(group, places[near]) for group, places in close for near in difflib.get_close_matches(given, places, 1)]
    return _shown(*found[0], key[1].rpartition(".")[0]) if found else ""


def _shown(group: str, places: dict[str, list[str]], parent: str) -> str:
    """A key, there where somebody looked for it if it is, and the choices of its group that have it."""
    path = next((path for path in places if path.rpartition(".")[0] == parent), min(places, key=len))
    choices = sorted(file.stem for file in Path(config_dir(), group).glob("*.yaml"))
    return path if places[path] == choices else f"{path}, of {group}={' or '.join(places[path][:3])}"


def _references_of(group: str) -> list[str]:
    """The groups that the files of a group refer to."""
    texts = (file.read_text("utf-8") for file in Path(config_dir(), group).glob("*.yaml"))
    return sorted({word for text in texts for word in re.findall(r"\$\{(\w+)\}", text)})


def _places(group: str) -> dict[str, dict[str, list[str]]]:
    """For each key in the files of a group its full names, and the files that have it."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(Path(config_dir(), group).glob("*.yaml")):
        text = file.read_text("utf-8")
        package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        for path in _paths(yaml.safe_load(text), package[1] if package else group):
            found.setdefault(path.rpartition(".")[2], {}).setdefault(path, []).append(file.stem)
    return found


def _paths(node: Any, name: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{name}.{key}"
            yield from _paths(value, f"{name}.{key}")

"""Compose a configuration from a command line by Hydra; an error of Hydra's becomes one sentence."""

import contextlib
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from inkwash.config import own_folders
from inkwash.config.home import complete_environment
from inkwash.config.hydra_settings import ManyRunsError, checked, composed_once, refuse_settings
from inkwash.config.paths import config_dir
from inkwash.config.quotes import parsed, with_quotes
from inkwash.config.renames import refuse_old_key
from inkwash.config.secrets import refuse_secrets
from inkwash.config.suggest import nearest, several_values
from inkwash.errors import UserError, user_error

# Lines of Hydra's messages that are left out: links, advice, and the types of the nodes around a key.
NOISE = re.compile(r"\s*(full_key:|object_type=|reference_type=|See https|To append to your|Set the environment)")
# The beginning of a message of Hydra's parser about a letter that none of its rules takes.
LETTER = "LexerNoViableAltException: "

# What asks for several runs: flags, and a setting.
MANY = ("-m", "--m", "hydra.mode=")
# Flags of Hydra's whose value is the next argument.
WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """Compose conf/NAME.yaml with overrides outside of a command, in a notebook for example.

    >>> config = inkwash.compose("schedule=linear", "model.channels=64")

    Returns:
        The configuration with its references, which resolve when they are read: `config.model` is ready for
        `hydra.utils.instantiate`.

    Raises:
        UserError: an override has no place, or no such value.
    """
    for override in overrides:
        refuse_old_key(override)
    own_folders.take_flags([])  # checks INKWASH_CONF
    own_folders.make_importable()
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(hydra.initialize_config_dir(config_dir(), version_base="1.3"))
        try:
            return hydra.compose(config_name, [with_quotes(override) for override in overrides])
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(sentence(error, config_name)) from None


def run(task: Callable[[DictConfig], Any], name: str) -> None:
    """Compose conf/NAME.yaml with the command line and give it to the task.

    What cannot be composed ends in one sentence, where Hydra would write a page; HYDRA_FULL_ERROR=1 shows that page.
    """
    complete_environment()
    try:
        _check_arguments(sys.argv[1:], name)
        arguments = own_folders.take_flags(sys.argv[1:])
        own_folders.make_importable()
    except UserError as error:
        sys.exit(f"error: {error}")
    sys.argv[1:] = flags_first([with_quotes(argument) for argument in arguments])
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
        # What a class of the user's own raises is a bug of theirs (instantiate.py).
        if composed and isinstance(error, InstantiationException) and error.__cause__ and user_error(error) is None:
            raise
        sys.exit(f"error: {sentence(error, name)}")
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def flags_first(arguments: list[str]) -> list[str]:
    """Put flags and their values before the overrides: Hydra's parser takes only overrides that stand together."""
    flags, overrides = flags_and_overrides(arguments)
    return [*flags, *overrides]


def flags_and_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part a command line into flags with their values, and overrides."""
    overrides = [
        index
        for index, (before, argument) in enumerate(pairwise(["", *arguments]))
        if before not in WITH_VALUE and (argument.startswith("~") or re.match(r"[^-][^=]*=", argument))
    ]
    flags = [argument for index, argument in enumerate(arguments) if index not in overrides]
    return flags, [arguments[index] for index in overrides]


def _check_arguments(arguments: list[str], name: str) -> None:
    """Raise UserError for arguments that must not reach Hydra: it would print a secret, or write files of its own."""
    refuse_secrets(arguments)
    for argument in arguments:
        refuse_old_key(argument)
        refuse_settings(argument, name)
        if name != "train" and argument.startswith(MANY):
            lists = "which takes lists of values without it" if name == "evaluate" else "which runs once for each value"
            raise UserError(f"{argument} is for train only: leave it out of {name}, {lists}")
        if argument.startswith("--e"):  # --experimental-rerun, which unpickles a file
            raise UserError(f"{argument.partition('=')[0]} is Hydra's: pass --config-dir RUN --config-name config")
        if any("\ud800" <= letter <= "\udfff" for letter in argument):  # stand for bytes that are not UTF-8
            raise UserError(f"{argument!a} is not UTF-8 text: rename the file that it names")


def _compose_and_run(task: Callable[[DictConfig], Any], name: str) -> None:
    if any(argument.startswith(("--config", "-c")) for argument in sys.argv[1:]):
        # Else Hydra writes its log files here, unless the user's configuration turns that off.
        sys.argv += [
            "hydra.run.dir=.",
            "hydra.output_subdir=null",
            "hydra/job_logging=none",
            "hydra/hydra_logging=none",
        ]
    main = hydra.main(version_base="1.3", config_path=config_dir(), config_name=name)(task)
    with checked():
        if any(_asks_for_many(argument) for argument in sys.argv[1:]):
            return main()
        try:
            with composed_once():
                return main()
        except ManyRunsError:
            return main()


def _asks_for_many(argument: str) -> bool:
    """Tell whether an argument asks for several runs, or lists values, which several runs may take."""
    override = parsed(argument)  # None for a flag, or a mistake that Hydra will find
    return argument.startswith(MANY) or (override is not None and override.is_sweep_override())


def sentence(error: BaseException, name: str) -> str:
    """Put an error of Hydra's on one line, with the nearest key or file that exists.

    Hydra's first line is not enough: the value, the choices and the reason stand in later ones, or in its cause.
    """
    if mistake := user_error(error):
        return str(mistake)
    texts = [str(error)]
    if isinstance(error.__cause__, OmegaConfBaseException):
        texts.append(str(error.__cause__))
    if isinstance(error, ValueError) and (choice := _no_choice(sys.argv[1:])):
        return choice
    lines = "\n".join(texts).partition("Config search path")[0].splitlines()
    useful = dict.fromkeys(line.strip() for line in lines if line.strip() and not NOISE.match(line))
    text = " ".join(useful) or type(error).__name__
    if several := several_values(text, name):
        return several
    if isinstance(error, OverrideParseException) and (typed := " ".join(error.override.split())) not in text:
        text = f"{typed[:60]}: {text}"
    if isinstance(error, RecursionError):
        text = "a value on the command line or in a YAML file has too many brackets within each other"
    if text.startswith(LETTER) and "=" in text:
        text = f"{text.removeprefix(LETTER).rstrip(' ^')} has a letter that must stand in quotes: 'key=\"value\"'"
    if lost := re.search(r"Could not load '(\w+)/(\w+)'", text):
        names = [path.stem for path in own_folders.group_files(lost[1])]
        close = difflib.get_close_matches(lost[2], names, 1)
        meant = f"did you mean {close[0]}?" if close else f"conf/{lost[1]} has {', '.join(names)}"
        return f"{lost[1]}: {lost[2]} is not a choice; {meant}"
    text = text if len(text) <= 400 else f"{text[:397]}..."
    near = nearest("\n".join(texts), name)
    return f"{text}{near and f'; did you mean {near}?'}"


def _no_choice(arguments: list[str]) -> str | None:
    """Return a sentence for a group's override that is not a choice: Hydra's message does not name the override."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        names = [path.stem for path in own_folders.group_files(group)] if group.isidentifier() else []
        if names and not isinstance(yaml.safe_load(value), str | list):
            return f"{argument} is not a choice: conf/{group} has {', '.join(names)}"
    return None

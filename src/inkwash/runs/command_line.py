"""The command line of a run: the line in run.json that trains it again, and how further overrides go with it."""

import shlex
import sys
from collections.abc import Iterable, Sequence

import yaml

from inkwash.config.own_folders import group_files
from inkwash.config.renames import todays_override
from inkwash.errors import UserError
from inkwash.runs import relative_paths
from inkwash.runs.directory import RUNS, RunDirectory

# What belongs to one start and not to the run, and the keys of a sweep.
OF_THE_START = ("run", "resume", "sweep", "sweeper", "launcher")
# Number in run.json of the defaults that say what is trained, and those of runs without a number, which are older.
DEFAULTS = 1
FORMER = {"model": "unet_small", "optimizer": "adamw", "trainer.max_steps": 2000}
# Groups whose choices set keys of other groups.
WHOLE = ("experiment", "debug")
# Groups whose choices have the same keys: what was set of them stays when another is chosen.
SAME_KEYS = ("trainer", "callbacks", "metrics")


def command(arguments: Sequence[str]) -> str:
    """Return a line for a shell that trains with these arguments; a job of a sweep becomes a run of its own."""
    return shlex.join(["inkwash", "train", *(a for a in arguments if key_of(a) not in OF_THE_START[2:])])


def arguments_of(run: RunDirectory, typed: Sequence[str] = ()) -> list[str]:
    """Return the arguments that a run was trained with, in today's names, without those of its start.

    Before them stand the former defaults that it was trained with, but for those that `typed` sets. A run that no
    command line has made, an imported one, gives its config.yaml.
    """
    record = run.record
    if "command" in record:
        arguments = shlex.split(str(record["command"]))[2:]
    elif record.get("overrides") or "imported" not in record:
        arguments = [str(override) for override in record.get("overrides", [])]
    else:
        return [f"--config-dir={run.path.absolute()}", "--config-name=config"]
    arguments = [todays_override(argument) for argument in arguments if key_of(argument) not in OF_THE_START]
    return [*former_defaults(run, arguments, typed), *arguments]


def former_defaults(run: RunDirectory, stored: Iterable[str], typed: Sequence[str]) -> list[str]:
    """Return overrides for the defaults of an older version that a run has, but for keys that are stored or typed."""
    record = run.record
    if "defaults" in record or not run.config_path.is_file():
        return []
    given = {key_of(argument) for argument in (*stored, *typed)}
    given.update(*(_set_by(argument) for argument in typed if key_of(argument) in WHOLE))
    trainer = run.next_config.get("trainer") or {}
    has = {**(record.get("choices") or {}), "trainer.max_steps": trainer.get("max_steps")}
    return [f"{key}={value}" for key, value in FORMER.items() if has.get(key) == value and key not in given]


def _set_by(argument: str) -> set[str]:
    """Return the groups, and trainer.max_steps, that the file of a choice such as experiment=mnist sets."""
    group, _, name = argument.partition("=")
    file = next((path for path in group_files(group) if path.stem == name), None)
    content = (yaml.safe_load(file.read_text("utf-8")) if file else None) or {}
    chosen = (key for item in content.get("defaults", ()) if isinstance(item, dict) for key in item)
    steps = {"trainer.max_steps"} if "max_steps" in (content.get("trainer") or {}) else set()
    return steps | {key.removeprefix("override /") for key in chosen}


def with_more(arguments: Iterable[str], typed: Sequence[str]) -> list[str]:
    """Return the arguments of a run with others that were typed, which win.

    A choice that is typed, model=unet_cifar10, brings its own values: what was set of the choice before,
    model.channels=8, is left out.
    """
    keys = {key_of(argument) for argument in typed}
    chosen = {key for key in keys if key.isidentifier() and key not in SAME_KEYS}
    return [
        *(a for a in arguments if not (key_of(a) in keys or key_of(a).partition(".")[0] in chosen)),
        *typed,
    ]  # fmt: skip


def from_run(arguments: list[str]) -> list[str]:
    """Replace from=RUN by the overrides of that run, before those that are typed beside it.

    Raises:
        UserError: there is no such run, or it is the run that is to be trained.
    """
    names = [argument.partition("=")[2] for argument in arguments if key_of(argument) == "from"]
    typed = [argument for argument in arguments if key_of(argument) != "from"]
    if not names:
        return typed
    source = RunDirectory.find(names[-1])
    runs = [RUNS / argument.partition("=")[2] for argument in typed if key_of(argument) == "run"]
    if any(run.resolve() == source.path.resolve() for run in runs):
        raise UserError(f"from={names[-1]} is the run itself: make resume run={source.path.name} goes on with it")
    refuse_choices(source, names[-1], typed)
    stored = [found_from(argument, source) for argument in arguments_of(source, typed)]
    print(f"from {source}: {shlex.join(stored) or 'the defaults'}", file=sys.stderr)
    return with_more(stored, typed)


def found_from(argument: str, run: RunDirectory) -> str:
    """Return an argument of a run, its relative path of images made absolute if it leads nowhere from here."""
    key, _, value = argument.partition("=")
    if key_of(argument) not in ("data.path", "data.source.heldout_path"):
        return argument
    path = value[1:-1] if value[:1] in ('"', "'") and value[-1:] == value[0] else value
    found = relative_paths.found_path(path, run.path, RUNS.name)
    return argument if found == path else f"{key}={found}"


def refuse_choices(run: RunDirectory, called: str, typed: Sequence[str]) -> None:
    """Raise UserError if a choice, data=digits, is typed for a run whose arguments are its config.yaml: it has none."""
    choice = next((a for a in typed if (key := key_of(a)).isidentifier() and group_files(key)), None)
    if choice is not None and "--config-name=config" in arguments_of(run):
        raise UserError(
            f"{choice} cannot be chosen for run={called}, which was imported: its config.yaml has a value for every "
            f"key; pass single ones, data.path=PATH for example, or make train run=NAME init_from={called} {choice}"
        )


def key_of(argument: str) -> str:
    """Return the key of an override: callbacks.report of ~callbacks.report, new.key of +new.key=1; "" for a flag."""
    return "" if argument.startswith("-") else argument.partition("=")[0].lstrip("+~")

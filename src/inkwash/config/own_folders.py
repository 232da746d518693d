"""Folders of YAMLs beside conf/, and what inkwash.yaml in them says: packages to trust, folders to import from.

INKWASH_CONF names the folders, separated as in PATH; `--config-dir DIR` on a command line adds one. A command passes on
what it was given by its environment, as INKWASH_CONF and PYTHONPATH, to every process that it starts.
"""

import difflib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from inkwash.config.paths import config_dir
from inkwash.errors import UserError

VARIABLE = "INKWASH_CONF"
FLAGS = ("--config-dir", "-cd")
SETTINGS = "inkwash.yaml"
# Deep enough for hydra/launcher/mine.yaml.
LEVELS = ("*.yaml", "*/*.yaml", "*/*/*.yaml")
# A folder with one of these is a run or a copy of one, which may come from a stranger.
OF_A_RUN = ("run.json", "config.yaml", "checkpoints")


class Settings(NamedTuple):
    """Content of an inkwash.yaml: packages whose classes YAMLs may name, and folders that Python imports from."""

    trust: list[str]
    path: list[Path]


def folders() -> list[Path]:
    """Return the folders that INKWASH_CONF names, in order."""
    names = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return list(dict.fromkeys(_absolute(name) for name in names))


def group_files(group: str) -> list[Path]:
    """List the YAMLs of a group by name: those of conf/, then what the user's folders add."""
    found: dict[str, Path] = {}
    for folder in (Path(config_dir()), *folders()):
        for path in (folder / group).glob("*.yaml"):
            found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]


def take_flags(arguments: list[str]) -> list[str]:
    """Move every --config-dir from a command line into INKWASH_CONF, and return the other arguments.

    Raises:
        UserError: a folder does not exist, has no YAML or one that is never read, or its inkwash.yaml is wrong.
    """
    named, rest, waiting = [], [], iter(arguments)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if flag not in FLAGS:
            rest.append(argument)
        elif value := value if equals else next(waiting, ""):
            named.append(_checked("--config-dir", value))
        else:
            raise UserError("--config-dir needs the name of a folder: --config-dir=FOLDER")
    there = [_checked(VARIABLE, str(folder)) for folder in folders()]
    if named or there:
        os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys([*named, *there])))
    return rest


def trusted() -> list[str]:
    """List the packages that the folders' inkwash.yaml trust."""
    return [package for folder in folders() for package in settings(folder).trust]


def make_importable() -> None:
    """Put the folders that inkwash.yaml names as `path` on this process's sys.path, and on that of those it starts."""
    paths = [str(path) for folder in folders() for path in settings(folder).path]
    for path in reversed(paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    before = [name for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    if new := [path for path in dict.fromkeys(paths) if path not in before]:
        os.environ["PYTHONPATH"] = os.pathsep.join([*new, *before])


@cache
def settings(folder: Path) -> Settings:
    """Read inkwash.yaml of a folder; it may be missing.

    Raises:
        UserError: it cannot be read, says something else than `trust` and `path`, or lies in a run directory.
    """
    file = folder / SETTINGS
    if not file.exists():
        return Settings([], [])
    if mark := next((name for name in OF_A_RUN if (folder / name).exists()), None):
        raise UserError(
            f"{file} is not followed, because {mark} beside it shows that {folder} is a run, which may come from "
            "anywhere: move inkwash.yaml to a folder of your own"
        )
    try:
        said: Any = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    said = {} if said is None else said
    if not isinstance(said, dict):
        raise UserError(f"{file} must be keys with values: trust: [PACKAGE] and path: FOLDER")
    for key in said.keys() - {"trust", "path"}:
        near = difflib.get_close_matches(str(key), ("trust", "path"), 1)
        hint = f"did you mean {near[0]}?" if near else "it has trust and path"
        raise UserError(f"{file}: there is no key {key}; {hint}")
    return Settings(_packages(file, said.get("trust")), _paths(file, said.get("path")))


def _packages(file: Path, value: Any) -> list[str]:
    names = _texts(file, "trust", value)
    for name in names:
        if not name.isidentifier():
            raise UserError(f"{file}: trust: {name} must be the name of a package, without dots")
    return names


def _paths(file: Path, value: Any) -> list[Path]:
    paths = [_absolute(os.path.join(file.parent, os.path.expanduser(name))) for name in _texts(file, "path", value)]
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{file}: path: {path} is not a folder: it is relative to {file.parent}")
    return paths


def _texts(file: Path, key: str, value: Any) -> list[str]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) and text for text in values):
        raise UserError(f"{file}: {key} must be text, or a list of texts: {key}: [{'..' if key == 'path' else 'mine'}]")
    return values


def _checked(key: str, name: str) -> Path:
    """Return a folder that the user names. Raises UserError if it is of no use."""
    folder = _absolute(name)
    if not folder.is_dir():
        raise UserError(f"{key}={name} is not a folder: name one with YAML files, as {name}/model/my_net.yaml")
    if os.pathsep in str(folder):
        raise UserError(f"{key}={name} cannot be passed on, because {os.pathsep} divides folders: rename it")
    files = sorted(file for level in LEVELS for file in folder.glob(level))
    if not files:
        raise UserError(f"{key}={name} has no YAML file: put some there, as {name}/model/my_net.yaml")
    for file in files:
        ours = Path(config_dir(), file.relative_to(folder))
        if ours.exists() and not ours.samefile(file):
            raise UserError(f"{file} is never read, because conf/ of Inkwash has a file of that name: rename it")
    settings(folder)
    return folder


def _absolute(name: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(name)))

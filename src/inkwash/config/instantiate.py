"""Instantiate a node of a resolved configuration."""

import re
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import MissingMandatoryValue

from inkwash.config import own_folders
from inkwash.config.signatures import OF_HYDRA, shown
from inkwash.config.trust import TRUSTED
from inkwash.errors import UserError, chain, user_error

KNOWN = ("inkwash.", *TRUSTED)
# Exceptions of constructors (ours, torch's, Lightning's) for values that they cannot use.
OF_VALUES = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, AttributeError, RuntimeError)


def build(node: Any, **more: Any) -> Any:
    """Instantiate a node with plain containers inside.

    Every node must have passed `validate.check_nodes`: commands check what they compose, and `runs.config_file.load`
    checks what it reads.

    Raises:
        UserError: its target refuses the arguments, or its package cannot be imported.
    """
    own_folders.make_importable()  # in a notebook; a command has done it for its ranks
    try:
        return instantiate(node, _convert_="all", **more)
    except MissingMandatoryValue as error:  # ??? in an imported run, whose images are not known
        raise UserError(f"{error.full_key or error.key} of {node['_target_']} has no value") from error
    except InstantiationException as error:
        if mistake := user_error(error):
            raise mistake from None
        part = _part(node, str(error))
        target = str(part.get("_target_"))
        if error.__cause__ is None:  # torch or Lightning has no such name
            raise UserError(first_line(error)) from error
        if target.startswith(KNOWN) and isinstance(error.__cause__, OF_VALUES):
            raise UserError(f"{target} with {plain_arguments(part)}: {first_line(error.__cause__)}") from error
        if (missing := _missing_module(error)) and f"{target}.".startswith(f"{missing}."):
            raise UserError(f"_target_={target}: {_not_found(missing)}") from error
        raise  # the user's own class: its traceback is wanted


def _missing_module(error: BaseException) -> str | None:
    """Return the name of the module that Python did not find, of the error or of those it was raised from."""
    return next((e.name for e in chain(error) if isinstance(e, ModuleNotFoundError)), None)


def _not_found(name: str) -> str:
    """Say what to do if Python finds no package, no module of a package, or no class of a module."""
    parent, _, last = name.rpartition(".")
    if parent:
        return f"{parent} has no {last}: check the name"
    return (
        f"no package {name} can be imported: set INKWASH_CONF=FOLDER, where FOLDER/inkwash.yaml has `path: ..` for the "
        f"folder that {name} is in, or PYTHONPATH"
    )


def _part(node: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the inner node that an error of Hydra's names."""
    key = re.search(r"full_key: (\S+)", text)
    part: Any = node
    for name in key[1].split(".") if key else ():
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else node


def plain_arguments(node: dict[str, Any]) -> str:
    """Format the arguments of a node that are not nodes themselves."""
    plain = {name: value for name, value in node.items() if name not in OF_HYDRA and not isinstance(value, dict)}
    return ", ".join(f"{name}={shown(value)}" for name, value in plain.items()) or "no arguments"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

"""What a configuration may call, and with which arguments: read from the source of our own targets, without torch."""

import ast
import difflib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.kinds import described, fits
from inkwash.launch import config_dir

PACKAGE = Path(__file__).parent
# What Hydra reads of a node beside its target's arguments.
OF_HYDRA = ("_target_", "_partial_")
# Modules whose classes a configuration may name beside ours.
TRUSTED = ("torch.optim", "torch.nn", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "optuna.pruners")


def refuse_strangers(node: Any, key: str = "") -> None:
    """Raise UserError for a _target_ that is neither ours nor trusted.

    Whatever is named there is called, and the config.yaml of a run may come from anywhere.
    """
    if isinstance(node, list):
        for i, item in enumerate(node):
            refuse_strangers(item, f"{key}[{i}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node and not _may_be_called(str(node["_target_"])):
        raise UserError(
            f"{key}._target_={node['_target_']} is neither a class of inkwash nor in conf/: if it is yours, "
            "set INKWASH_TRUST=PACKAGE in the environment".lstrip(".")
        )
    for name, value in node.items():
        refuse_strangers(value, f"{key}.{name}".lstrip("."))


def _may_be_called(target: str) -> bool:
    module, _, name = target.rpartition(".")
    if target.startswith("inkwash."):
        # What is defined there, not what is only imported. Functions may write files: only mathematics, or named ones.
        is_class = isinstance(_definitions(target)[0][name], ast.ClassDef)
        return is_class or target.startswith("inkwash.process.") or target in _named_in_conf()
    return (module in TRUSTED and name[:1].isupper()) or module.split(".")[0] in trusted_packages()


def trusted_packages() -> list[str]:
    """Somebody's own, which the environment names."""
    return [package for package in os.environ.get("INKWASH_TRUST", "").split(",") if package]


@cache
def _named_in_conf() -> frozenset[str]:
    """Every _target_ that a YAML of conf/ has."""
    texts = (path.read_text("utf-8") for path in Path(config_dir()).rglob("*.yaml"))
    return frozenset(target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text))


def check_arguments(node: Any, key: str = "") -> None:
    """Raise UserError for an argument that one of our own targets does not take, or takes of another kind."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            check_arguments(item, f"{key}[{i}]")
    if not isinstance(node, dict):
        return
    for name, kind in (("_target_", str), ("_partial_", bool)):
        if not isinstance(node.get(name, kind()), kind):
            raise UserError(
                f"{_joined(key, name)}={shown(node[name])} must be {'true or false' if kind is bool else 'a name'}"
            )
    target = str(node.get("_target_", ""))
    given = {str(name): value for name, value in node.items() if name not in OF_HYDRA}
    arguments = _arguments(target) if target.startswith("inkwash.") else None
    if arguments is not None and (unknown := sorted(given.keys() - arguments.keys())):
        near = difflib.get_close_matches(unknown[0], arguments, 1)
        hint = f"did you mean {_joined(key, near[0])}?" if near else f"it takes {', '.join(arguments) or 'none'}"
        name = target.rsplit(".", 1)[1]
        raise UserError(f"{_joined(key, unknown[0])}: {name} has no such argument; {hint}")
    for name, value in given.items():
        reference = isinstance(value, str) and "${" in value  # to be checked once it is resolved
        if arguments is not None and not (reference or fits(arguments[name], value)):
            kind = described(arguments[name])
            raise UserError(f"{_joined(key, name)}={shown(value)} must be {kind}")
        check_arguments(value, _joined(key, name))


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}".lstrip(".")


def shown(value: Any) -> str:
    """A value about as it is typed, cut short."""
    text = json.dumps(value, default=str) if isinstance(value, bool | list | dict | None) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _arguments(target: str) -> dict[str, ast.expr | None] | None:
    """Arguments of one of our own classes or functions with their annotations, read from its source; None when
    open-ended."""
    definitions, tree = _definitions(target)
    return _signature(definitions[target.rpartition(".")[2]], definitions, tree)


@cache
def _definitions(target: str) -> tuple[dict[str, Any], ast.Module]:
    """Classes and functions of the target's module, by name, and its syntax tree; UserError unless it is there."""
    module, _, name = target.rpartition(".")
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not path.exists():
        raise UserError(f"_target_={target}: there is no module {module}")
    tree = ast.parse(path.read_text("utf-8"))
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if name not in definitions:
        near = difflib.get_close_matches(name, definitions, 1)
        raise UserError(f"_target_={target}: {module} has no {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return definitions, tree


def _signature(node: ast.AST, definitions: dict[str, Any], tree: ast.Module) -> dict[str, ast.expr | None] | None:
    if isinstance(node, ast.FunctionDef):
        arguments = {argument.arg: argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)}
        arguments.pop("self", None)
        return None if node.args.kwarg and node.name == "__init__" else arguments
    assert isinstance(node, ast.ClassDef)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _signature(item, definitions, tree)
    for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
        if base in definitions:
            return _signature(definitions[base], definitions, tree)
        for imported in (item for item in tree.body if isinstance(item, ast.ImportFrom)):
            if str(imported.module).startswith("inkwash") and base in {alias.name for alias in imported.names}:
                return _arguments(f"{imported.module}.{base}")
    return {}

"""What can be known of a configuration before torch is imported: seconds count when a key is misspelt."""

import ast
import difflib
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.errors import UserError
from inkwash.launch import config_dir

PACKAGE = Path(__file__).parent
# Modules whose classes a configuration may name beside ours.
TRUSTED = ("torch.optim", "torch.nn", "lightning.pytorch.callbacks", "lightning.pytorch.loggers")


def check(config: DictConfig) -> None:
    """Raise UserError for a missing value, an argument that its target does not take, or an impossible batch size."""
    # OmegaConf.missing_keys stops at an interpolation of a missing value.
    if missing := _missing("", OmegaConf.to_container(config, resolve=False)):
        raise UserError(f"{missing[0]} has no value yet: pass {missing[0]}=...")
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error
    for key, node in plain.items():
        refuse_strangers(node, str(key))
        _check_node(str(key), node)
    if "callbacks" in plain:  # a training
        _check_trainer(plain["trainer"])
        _check_batch(plain)
        _check_classes(plain)


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
    mine = [package for package in os.environ.get("INKWASH_TRUST", "").split(",") if package]
    return (module in TRUSTED and name[:1].isupper()) or module.split(".")[0] in mine


@cache
def _named_in_conf() -> frozenset[str]:
    """Every _target_ that a YAML of conf/ has."""
    texts = (path.read_text("utf-8") for path in Path(config_dir()).rglob("*.yaml"))
    return frozenset(target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text))


def _missing(key: str, node: Any) -> list[str]:
    """Keys whose value is ???, in the order of the configuration."""
    if isinstance(node, dict):
        return [found for name, value in node.items() for found in _missing(f"{key}.{name}".lstrip("."), value)]
    return [key] if node == "???" else []


def _check_node(key: str, node: Any) -> None:
    if isinstance(node, list):
        for i, item in enumerate(node):
            _check_node(f"{key}[{i}]", item)
    if not isinstance(node, dict):
        return
    given = {str(name) for name in node} - {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
    target = str(node.get("_target_", ""))
    arguments = _arguments(target) if target.startswith("inkwash.") else None
    if arguments is not None and (unknown := sorted(given - set(arguments))):
        near = difflib.get_close_matches(unknown[0], arguments, 1)
        hint = f"did you mean {key}.{near[0]}?" if near else f"it takes {', '.join(arguments)}"
        raise UserError(f"{key}.{unknown[0]}: {target.rsplit('.', 1)[1]} has no such argument; {hint}")
    for name, value in node.items():
        _check_node(f"{key}.{name}", value)


@cache
def _arguments(target: str) -> tuple[str, ...] | None:
    """Names of the arguments of one of our own classes or functions, read from its source; None when open-ended."""
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


def _signature(node: ast.AST, definitions: dict[str, Any], tree: ast.Module) -> tuple[str, ...] | None:
    if isinstance(node, ast.FunctionDef):
        names = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        return None if node.args.kwarg and node.name == "__init__" else tuple(name for name in names if name != "self")
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
    return ()


def _check_trainer(trainer: dict[str, Any]) -> None:
    devices = trainer.get("devices")
    if devices != "auto" and not (isinstance(devices, int) and devices >= 1):
        raise UserError(f"trainer.devices={devices} must be a number of processes, or auto for one on each GPU")
    if trainer.get("num_nodes") != 1:
        raise UserError(
            f"trainer.num_nodes={trainer.get('num_nodes')}: training on several machines is not supported yet"
        )


def _check_classes(config: dict[str, Any]) -> None:
    classes, there = config["model"].get("num_classes"), config["data"].get("num_classes")
    if classes is not None and classes != there:
        raise UserError(f"model.num_classes={classes}, but data.num_classes={there}: the network must know every label")


def _check_batch(config: dict[str, Any]) -> None:
    """The global batch must be cut evenly, as far as the number of devices is known before torch looks."""
    trainer, batch = config["trainer"], config["data"].get("batch_size")
    parts = [trainer.get("devices"), trainer.get("num_nodes"), trainer.get("accumulate_grad_batches")]
    if not isinstance(batch, int) or not all(isinstance(part, int) for part in parts):
        return
    devices, nodes, accumulate = parts
    if batch < 1 or min(parts) < 1 or batch % (devices * nodes * accumulate):
        raise UserError(
            f"data.batch_size={batch} is the global batch and must be a multiple of trainer.devices={devices} x "
            f"trainer.num_nodes={nodes} x trainer.accumulate_grad_batches={accumulate}"
        )

"""What can be known of a configuration before torch is imported: seconds count when a key is misspelt."""

import ast
import difflib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.credentials import refuse_secrets
from inkwash.errors import UserError
from inkwash.kinds import described, fits, is_node
from inkwash.launch import config_dir

PACKAGE = Path(__file__).parent
# What a training calls; the second kind maps names to such.
PARTS = ("data", "model", "schedule", "prediction", "loss", "optimizer", "learning_rate", "ema", "trainer")
LISTS = ("callbacks", "logger", "averages")
# What Hydra reads of a node beside its target's arguments.
OF_HYDRA = ("_target_", "_partial_")
# Modules whose classes a configuration may name beside ours.
TRUSTED = ("torch.optim", "torch.nn", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "optuna.pruners")


def check(config: DictConfig) -> None:
    """Raise UserError for a missing value, an API key, an argument that its target does not take, or takes of another
    kind, or an impossible batch size."""
    typed: Any = OmegaConf.to_container(config, resolve=False)
    # OmegaConf.missing_keys stops at an interpolation of a missing value.
    if missing := _missing("", typed):
        raise UserError(f"{missing[0]} has no value yet: pass {missing[0]}=...")
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error
    refuse_secrets(plain)  # before any value is told
    if "callbacks" in plain:  # a training, of whose steps other keys are made
        _check_steps(plain.get("trainer"))
    for key, node in typed.items():  # first, so that a value is told of where it stands, not of a reference to it
        check_arguments(node, str(key))
    for key, node in plain.items():
        refuse_strangers(node, str(key))
        check_arguments(node, str(key))
    trainer = plain.get("trainer")
    if isinstance(trainer, dict) and "devices" in trainer:
        _check_devices(trainer["devices"])
    if "callbacks" in plain:
        check_parts(plain)
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


def check_stored(config: dict[str, Any], path: Path) -> None:
    """Raise UserError unless a run's config.yaml, which may come from anywhere, says all that drawing needs to know."""
    try:
        check_parts(config)
        for key, node in config.items():
            refuse_strangers(node, key)
            check_arguments(node, key)
        if not (isinstance(config.get("seed"), int) and _is_shape(config["data"].get("shape"))):
            raise UserError("seed or data.shape are missing, or of another kind")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(n, int) and n > 0 for n in value)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}".lstrip(".")


def shown(value: Any) -> str:
    """A value about as it is typed, cut short."""
    text = json.dumps(value, default=str) if isinstance(value, bool | list | dict | None) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_parts(config: dict[str, Any]) -> None:
    """Raise UserError unless everything that a training calls is a node with a _target_."""
    for key in PARTS:
        if not is_node(config.get(key)):
            raise UserError(f"{key}={shown(config.get(key))} must be a node with a _target_: choose one of conf/{key}")
    for key in LISTS:
        nodes = config.get(key)
        if key == "averages" and nodes is None:
            continue
        if not isinstance(nodes, dict):
            raise UserError(f"{key}={shown(nodes)} must be a mapping of names to nodes")
        for name, node in nodes.items():
            if not is_node(node):
                raise UserError(f"{key}.{name}={shown(node)} must be a node with a _target_; ~{key}.{name} removes it")


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


def _check_steps(trainer: Any) -> None:
    steps = trainer.get("max_steps") if isinstance(trainer, dict) else None
    if isinstance(steps, int) and steps < 1:
        raise UserError(f"trainer.max_steps={steps} must be at least 1")


def _check_devices(devices: Any) -> None:
    if devices != "auto" and not (type(devices) is int and devices >= 1):  # a bool is an int, too
        raise UserError(f"trainer.devices={shown(devices)} must be a number of processes, or auto for one on each GPU")


def _check_trainer(trainer: dict[str, Any]) -> None:
    accumulate = trainer.get("accumulate_grad_batches")
    if isinstance(accumulate, str) and accumulate != "auto":
        raise UserError(
            f"trainer.accumulate_grad_batches={accumulate} must be a whole number, or auto for as few parts as fit"
        )
    nodes = trainer.get("num_nodes")
    if not (isinstance(nodes, int) and nodes >= 1):
        raise UserError(f"trainer.num_nodes={nodes} must be a number of machines")


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

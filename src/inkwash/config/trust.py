"""Refuse a `_target_` that a configuration may not call: config.yaml of a run may come from anywhere."""

import ast
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from inkwash.config import own_folders
from inkwash.config.paths import config_dir
from inkwash.config.signatures import definitions_of
from inkwash.errors import UserError

# Modules whose classes a configuration may name beside ours.
TRUSTED = (
    "torch.optim", "torch.nn", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "optuna.pruners",
    "optuna.samplers",
)  # fmt: skip


def refuse_strangers(node: Any, key: str = "") -> None:
    """Raise UserError for a _target_ that is neither ours nor trusted: it would be called.

    Args:
        key: the place of the node, for the message.
    """
    if isinstance(node, list):
        for i, item in enumerate(node):
            refuse_strangers(item, f"{key}[{i}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node and not _may_be_called(str(node["_target_"])):
        place = f"{key}._target_".lstrip(".")
        raise UserError(
            f"{place}={node['_target_']} is neither a class of inkwash nor in conf/: if it is yours, set "
            "INKWASH_TRUST=PACKAGE in the environment, or pass --config-dir=FOLDER (or INKWASH_CONF) if "
            "FOLDER/inkwash.yaml trusts it"
        )
    for name, value in node.items():
        refuse_strangers(value, f"{key}.{name}".lstrip("."))


def _may_be_called(target: str) -> bool:
    module, _, name = target.rpartition(".")
    if target.startswith("inkwash."):
        # Defined there, not only imported. A function may write files: only the mathematics and those in conf/.
        is_class = isinstance(definitions_of(target)[0][name], ast.ClassDef)
        return is_class or target.startswith("inkwash.process.") or target in _named_in_conf()
    if module in TRUSTED and name[:1].isupper():
        return True
    return any(target.startswith(f"{package}.") for package in trusted_packages())


def trusted_packages() -> list[str]:
    """List the user's own packages: those in INKWASH_TRUST, and those that an inkwash.yaml of INKWASH_CONF trusts.

    INKWASH_TRUST may name modules of a package too, as mine.nets.
    """
    names = (name.strip() for name in os.environ.get("INKWASH_TRUST", "").split(","))
    return [*filter(None, names), *own_folders.trusted()]


@cache
def _named_in_conf() -> frozenset[str]:
    """Collect every _target_ in the YAML files of conf/."""
    texts = (path.read_text("utf-8") for path in Path(config_dir()).rglob("*.yaml"))
    return frozenset(target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text))

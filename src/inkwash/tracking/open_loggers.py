"""Make the loggers of a configuration, and the configuration itself flat, as dashboards take it."""

import importlib
import inspect
import logging
import os
from collections.abc import Mapping
from typing import Any

from inkwash.config.instantiate import build
from inkwash.runs.directory import RunDirectory

# Arguments by which loggers are told a folder: ours, and those of lightning.pytorch.loggers.
PLACES = ("directory", "save_dir", "root_dir")
# Libraries that write lines of their own to the terminal.
TALKING = ("mlflow", "alembic", "tensorboard", "comet_ml", "litlogger")
# Variables of MLflow's. Its own seven retries of a request take four minutes. It has come to prefer a database to a
# folder; but to a folder any number of jobs may write at a time, on a network file system too.
VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_ALLOW_FILE_STORE": "true",
}  # fmt: skip


def open_loggers(nodes: Mapping[str, Any], run: RunDirectory) -> list[Any]:
    """Make every logger of a run. One that keeps files, and is not told where, keeps them in the run directory."""
    for name in TALKING:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    return [build(node, **_place(node, run)) for node in nodes.values()]


def _place(node: Mapping[str, Any], run: RunDirectory) -> dict[str, str]:
    module, _, name = node["_target_"].rpartition(".")
    try:
        known = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError):  # `build` says it better
        return {}
    place = next((argument for argument in PLACES if argument in known and argument not in node), None)
    return {} if place is None else {place: str(run)}


def flat(node: Any, key: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by their dotted keys; a list is text."""
    if isinstance(node, Mapping):
        parts = (flat(item, f"{key}.{name}".lstrip(".")) for name, item in node.items())
        return {name: leaf for part in parts for name, leaf in part.items()}
    return {key: node if isinstance(node, bool | int | float | str) else str(node)}

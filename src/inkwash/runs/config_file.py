"""Read and write config.yaml, the resolved configuration of a run."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.config.renames import in_todays_names
from inkwash.config.validate import check_nodes
from inkwash.errors import UserError
from inkwash.files import insisting, write_text

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# With this header `--config-dir RUN --config-name config` trains config.yaml again, as conf/train.yaml would.
HEADER = {
    "defaults": [
        "train_schema",
        *({f"override hydra/{log}": "none"} for log in ("job_logging", "hydra_logging")),
        "_self_",
    ],
    "hydra": {"run": {"dir": "."}, "output_subdir": None, "job": {"chdir": False}},
}
OF_THE_LAUNCH = {"run": None, "sweep": None, "resume": "auto"}


def write(path: Path, config: dict[str, Any]) -> None:
    """Write a resolved configuration with the header that lets Hydra run it again."""
    write_text(path, OmegaConf.to_yaml({**HEADER, **OF_THE_LAUNCH, **config}))


def read(path: Path) -> dict[str, Any]:
    """Read what `write` was given. Raises UserError as `load` does."""
    return {key: value for key, value in load(path).items() if key not in {**HEADER, **OF_THE_LAUNCH}}


def load(path: Path) -> dict[str, Any]:
    """Read a configuration in today's names and check its nodes: the file may come from anywhere.

    Raises:
        UserError: the file is damaged, or a node names something that a configuration may not call.
    """
    try:
        text = insisting(lambda: path.read_text("utf-8"))
        # Nested aliases let a small file expand without bound.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            raise UserError(f"{path} has YAML aliases, which Inkwash never writes: restore it from a copy")
        config = OmegaConf.to_container(insisting(lambda: OmegaConf.load(path)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): restore it from a copy") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a configuration: restore it from a copy")
    config = in_todays_names({str(key): value for key, value in config.items()})
    try:
        check_nodes(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return config


def config_hash(config: dict[str, Any]) -> str:
    """Hash a resolved configuration to 12 hexadecimal digits; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]

"""Checkpoints as W&B artifacts (logger.wandb.artifacts=true): an artifact is a run directory.

wandb is imported when it is needed: that takes a second.
"""

import re
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.wandb_reach import reach
from inkwash.tracking.wandb_settings import has_api_key

NAME = re.compile(r"[^/:]+/[^/:]+/[^/:]+:[^/:]+")


def download(name: str) -> Path:
    """Return the folder of an artifact ENTITY/PROJECT/NAME:ALIAS, below artifacts/ as W&B has it.

    Raises:
        UserError: there is no key, W&B cannot be reached, or it has no such artifact.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"wandb:{name} must be wandb:ENTITY/PROJECT/ARTIFACT:ALIAS, with the alias best, for one")
    if not has_api_key():
        raise UserError(f"wandb:{name} needs an API key: run `wandb login`, or set WANDB_API_KEY")
    reach()
    import wandb
    from wandb.errors import Error

    try:
        return Path(wandb.Api().artifact(name).download())
    except (Error, ValueError, OSError) as error:
        raise UserError(f"wandb:{name} cannot be downloaded: {' '.join(str(error).split())[:200]}") from error


def checkpoint_artifact(run: RunDirectory, checkpoint: str) -> Any:
    """Return a checkpoint with its configuration as an artifact, which unpacks to a run directory."""
    import wandb

    artifact = wandb.Artifact(f"checkpoint-{run.record['id']}", "model", metadata={"run": run.path.name})
    artifact.add_file(str(run.config_path))
    artifact.add_file(str(run.checkpoints.path / checkpoint), f"checkpoints/{checkpoint}")
    return artifact

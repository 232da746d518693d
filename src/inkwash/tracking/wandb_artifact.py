"""Checkpoints as W&B artifacts (logger.wandb.artifacts=true): an artifact is a run directory.

wandb is imported when it is needed: that takes a second.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.wandb_reach import reach
from inkwash.tracking.wandb_settings import has_api_key

RECORDED = ("id", "imported", "choices", "data")  # of run.json: not the command line, which may name other places
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
    """Return a checkpoint with all that a run is drawn from, as an artifact that unpacks to a run directory.

    That is its configuration, its autoencoder if it keeps one, and of run.json what does not change when the same
    training is started again: the same checkpoint stays the same version.
    """
    import wandb

    name = run.record.get("id", run.path.name)  # a run that came without its record: of an older artifact, for one
    artifact = wandb.Artifact(f"checkpoint-{name}", "model", metadata={"run": run.path.name})
    artifact.add_file(str(run.config_path))
    artifact.add_file(str(run.checkpoints.path / checkpoint), f"checkpoints/{checkpoint}")
    for file in sorted(run.autoencoder.glob("*")):
        artifact.add_file(str(file), f"{run.autoencoder.name}/{file.name}")
    with tempfile.TemporaryDirectory() as folder:  # W&B copies what it is given
        record = Path(folder, run.record_path.name)
        write_json(record, {key: run.record[key] for key in RECORDED if key in run.record})
        artifact.add_file(str(record), record.name)
    return artifact

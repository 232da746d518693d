"""Download a checkpoint that a run has sent to W&B (logger.wandb.artifacts=true): the artifact is a run directory."""

import re
from pathlib import Path

from inkwash.errors import UserError
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
    import wandb  # a second
    from wandb.errors import Error

    try:
        return Path(wandb.Api().artifact(name).download())
    except (Error, ValueError, OSError) as error:
        raise UserError(f"wandb:{name} cannot be downloaded: {' '.join(str(error).split())[:200]}") from error

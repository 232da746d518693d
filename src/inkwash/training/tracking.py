"""Weights & Biases: the only file that knows it."""

import json
import netrc
import os
from pathlib import Path
from urllib.parse import urlparse

import wandb
from lightning.pytorch.loggers import WandbLogger


def wandb_logger(
    directory: str,
    project: str,
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    mode: str | None = None,
) -> WandbLogger:
    """A logger that is online when there is an API key and offline, without a question, otherwise.

    Args:
        directory: the run directory; its run.json keeps the W&B run's id, so that a resume continues the same W&B run.
        project, name, group, tags: as in W&B; name is the run directory's by default, group the sweep's.
        mode: online, offline or disabled; None decides by WANDB_MODE and then by the key.
    """
    about = json.loads((Path(directory) / "run.json").read_text())
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    logger = WandbLogger(
        project=project,
        name=name or Path(directory).name,
        id=about["id"],
        save_dir=directory,
        group=group or about["sweep"],
        tags=tags,
        mode=mode,
        resume="allow",
    )
    logger._wandb_init.pop("anonymous", None)  # WandbLogger always passes it, and W&B always complains
    return logger


def has_api_key() -> bool:
    """Whether W&B could go online: WANDB_API_KEY, or what `wandb login` left in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def sync_command(directory: str) -> str | None:
    """What uploads the run's offline records, or None when there are none."""
    offline = sorted((Path(directory) / "wandb").glob("offline-run-*"))
    return f"wandb sync {' '.join(map(str, offline))}" if offline else None


def finish(failed: bool) -> None:
    """Close the W&B run, if there is one, so that the next job of this process gets its own."""
    if wandb.run is not None:
        wandb.finish(exit_code=int(failed))

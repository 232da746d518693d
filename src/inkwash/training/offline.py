"""What W&B has left on this machine, and whether it could go online: asked of files and variables, W&B unimported."""

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from inkwash.errors import UserError


def server() -> str:
    """Where W&B is: its address."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def has_api_key() -> bool:
    """Whether W&B could go online: WANDB_API_KEY, or what `wandb login` left in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlparse(server()).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reach(seconds: float = 10.0) -> None:
    """Raise UserError when W&B cannot be reached, which W&B itself would try for minutes."""
    address = urlparse(server())
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=seconds).close()
    except OSError as error:
        raise UserError(f"{server()} cannot be reached ({error}): try again where there is a network") from error


def records(directory: str | Path) -> list[Path]:
    """The offline records of a run that have not been uploaded, oldest first: of each start, evaluation and drawing."""
    folders = (f"{parent}wandb/offline-run-*" for parent in ("", "evaluations/*/", "samples/*/"))
    found = sorted((path for folder in folders for path in Path(directory).glob(folder)), key=lambda path: path.name)
    return [record for record in found if not list(record.glob("*.wandb.synced"))]


def sync_command(directory: str | Path) -> str | None:
    """What uploads the run's offline records, or None when there are none."""
    left = records(directory)
    return f"wandb sync {' '.join(map(str, left))}" if left else None

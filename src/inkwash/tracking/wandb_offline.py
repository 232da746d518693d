"""What W&B has left on this machine, and whether it could go online: asked of files and variables, W&B unimported."""

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from inkwash.errors import UserError


def server() -> str:
    """Where W&B is: its address."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def address() -> SplitResult:
    """The same in its parts. Raises UserError where it has none."""
    try:
        parts = urlsplit(server())
        if parts.port == 0 or not parts.hostname:
            raise ValueError("there is no host, or no port")
    except ValueError as error:
        raise UserError(f"WANDB_BASE_URL={server()} in the environment is no address ({error})") from error
    return parts


def has_api_key() -> bool:
    """Whether W&B could go online: WANDB_API_KEY, or what `wandb login` left in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(address().hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reach(seconds: float = 10.0) -> None:
    """Raise UserError when W&B cannot be reached, which W&B itself would try for minutes."""
    parts = address()
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
    except (OSError, UnicodeError) as error:  # a name may be none that can be asked for
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


def default_entity() -> str:
    """Return the entity whose projects the API key opens."""
    import wandb  # takes a second

    return str(wandb.Api().default_entity)

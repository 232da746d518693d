"""Offline records, API key and server of Weights & Biases (W&B), from files and variables: wandb is not imported."""

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from inkwash.errors import UserError


def server() -> str:
    """Return the address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def address() -> SplitResult:
    """Return the server's address in parts. Raises UserError if it is not an address."""
    try:
        parts = urlsplit(server())
        if parts.port == 0 or not parts.hostname:
            raise ValueError("there is no host, or no port")
    except ValueError as error:
        raise UserError(f"WANDB_BASE_URL={server()} in the environment is not an address ({error})") from error
    return parts


def has_api_key() -> bool:
    """Return whether there is an API key: WANDB_API_KEY, or the entry of `wandb login` in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(address().hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reach(seconds: float = 10.0) -> None:
    """Raise UserError if the server cannot be reached; W&B itself would try for minutes."""
    parts = address()
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
        raise UserError(f"{server()} cannot be reached ({error}): try again where there is a network") from error


def records(directory: str | Path) -> list[Path]:
    """Return a run's offline records that have not been uploaded, oldest first: of each start, evaluation, sampling."""
    folders = (f"{parent}wandb/offline-run-*" for parent in ("", "evaluations/*/", "samples/*/"))
    paths = sorted((path for folder in folders for path in Path(directory).glob(folder)), key=lambda path: path.name)
    return [record for record in paths if not list(record.glob("*.wandb.synced"))]


def sync_command(directory: str | Path) -> str | None:
    """Return the command that uploads the run's offline records, or None if there are no such records."""
    paths = records(directory)
    return f"wandb sync {' '.join(map(str, paths))}" if paths else None


def default_entity() -> str:
    """Return the entity whose projects the API key opens."""
    import wandb  # takes a second

    return str(wandb.Api().default_entity)

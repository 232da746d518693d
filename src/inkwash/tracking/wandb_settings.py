"""Settings of Weights & Biases (W&B) that do not stand in our configuration: its variables and its file.

`null` in YAML means W&B's own variable WANDB_NAME, or the same key of ~/.config/wandb/settings, which `wandb login
--host`, `wandb offline` and `wandb disabled` write; a value in YAML or on the command line wins. wandb is not imported.
"""

import configparser
import importlib.util
import netrc
import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from inkwash.errors import UserError

PUBLIC = "https://api.wandb.ai"
MODES = {
    "online": "online", "run": "online", "shared": "shared", "offline": "offline", "dryrun": "offline",
    "disabled": "disabled",
}  # fmt: skip


def setting(name: str) -> str | None:
    """Return a setting from W&B's variable WANDB_NAME, else from its file; None if neither has it."""
    if text := os.environ.get(f"WANDB_{name.upper()}"):
        return text
    folder = os.environ.get("WANDB_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".config", "wandb")
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(Path(os.path.expanduser(folder), "settings"), "utf-8")
        return file.get("default", name, fallback=None) or None
    except (OSError, UnicodeError, configparser.Error):  # W&B itself passes over it
        return None


def tags() -> list[str] | None:
    """Return the tags of WANDB_TAGS, which commas divide; None if there are none."""
    return [tag.strip() for tag in (setting("tags") or "").split(",") if tag.strip()] or None


def project() -> str:
    """Return the project for runs that name none."""
    return setting("project") or "inkwash"


def server() -> str:
    """Return the address of the W&B server."""
    return setting("base_url") or _default_server()


@cache
def _default_server() -> str:
    """Return the server that the installed wandb takes, which it names in its source; it changed in 2026."""
    spec = importlib.util.find_spec("wandb")  # imports nothing
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "sdk", "lib", "urls.py")
        if file.is_file() and (
            found := re.search(r'^DEFAULT_BASE_URL = "(.+)"', file.read_text("utf-8"), re.MULTILINE)
        ):
            return found[1]
    return PUBLIC


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
    """Return whether there is a key: WANDB_API_KEY, a token file, in W&B's file, or `wandb login`'s in ~/.netrc."""
    if setting("api_key") or setting("identity_token_file"):
        return True
    hosts = {address().netloc, address().hostname or ""}
    if server() == _default_server():
        hosts.add(urlsplit(PUBLIC).netloc)  # where keys were kept before the server had its present name
    try:
        return any(netrc.netrc(os.environ.get("NETRC")).authenticators(host) for host in hosts)
    except (OSError, KeyError, netrc.NetrcParseError):  # KeyError: a user without a name, before Python 3.12
        return False


def chosen_mode(mode: str | None) -> str:
    """Return online, offline, disabled or shared: the argument, else W&B's own, else online if there is an API key."""
    if mode:
        return mode
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):  # what other trainers know it by
        return "disabled"
    text = setting("mode")
    if text and text not in MODES:
        raise UserError(f"WANDB_MODE={text} in the environment must be online, offline or disabled")
    return MODES[text] if text else "online" if has_api_key() else "offline"

"""Refuse API keys and passwords, which must not be written to files."""

import os
import re
from typing import Any

from inkwash.errors import UserError

SECRETS = ("WANDB_API_KEY", "HF_TOKEN")
# In a URL as SQLAlchemy reads it, or among the parameters that drivers take behind the question mark.
PASSWORD = re.compile(r"://[^:/]*:[^@]*@|[?&]password=")


def refuse_secrets(written: Any) -> None:
    """Raise UserError if an API key is in something that is about to be written to files."""
    text = str(written)
    for name in SECRETS:
        if len(secret := os.environ.get(name, "")) >= 8 and secret in text:
            raise UserError(f"the value of {name} is in the configuration, which is written to files: leave it out")


def refuse_password(key: str, url: str | None) -> None:
    """Raise UserError if the URL of a database holds a password."""
    if PASSWORD.search(url or ""):
        raise UserError(
            f"{key} holds a password, which would be written to files: leave it out of the URL, and set PGPASSWORD or "
            "write it to ~/.pgpass"
        )

"""API keys and passwords, which no file may hold. No torch: the launcher asks."""

import os
import re
from typing import Any

from inkwash.errors import UserError

SECRETS = ("WANDB_API_KEY", "HF_TOKEN")
# As SQLAlchemy reads it, and what drivers take behind the question mark.
PASSWORD = re.compile(r"://[^:/]*:[^@]*@|[?&]password=")


def refuse_secrets(written: Any) -> None:
    """Raise UserError for an API key in what is about to be written to files."""
    text = str(written)
    for name in SECRETS:
        if len(secret := os.environ.get(name, "")) >= 8 and secret in text:
            raise UserError(f"the value of {name} is in the configuration, which is no secret: leave it out")


def refuse_password(key: str, url: str | None) -> None:
    """Raise UserError for the URL of a database that holds a password."""
    if PASSWORD.search(url or ""):
        raise UserError(
            f"{key} holds a password, which would be written to files: leave it out of the URL, and set PGPASSWORD or "
            "write it to ~/.pgpass"
        )

"""Can the W&B server be reached from here? Answered in seconds; W&B itself tries for minutes, and then raises."""

import logging

from inkwash.errors import UserError
from inkwash.reach import SECONDS, problem_of
from inkwash.tracking.wandb_settings import address, chosen_mode, server

log = logging.getLogger(__name__)


def reachable_mode(mode: str | None) -> str:
    """Return the mode to log in: `chosen_mode`, but offline with a warning if the server cannot be reached."""
    chosen = chosen_mode(mode)
    if chosen in ("online", "shared") and (reason := problem()):
        log.warning("W&B          %s cannot be reached (%s): this is logged offline, for `make sync`", server(), reason)
        return "offline"
    return chosen


def reach() -> None:
    """Raise UserError if the server cannot be reached."""
    if reason := problem():
        raise UserError(f"{server()} cannot be reached ({reason}): try again where there is a network")


def problem(seconds: float = SECONDS) -> str | None:
    """Return why the server cannot be reached, None if it answers."""
    return problem_of(address(), seconds, "WANDB")

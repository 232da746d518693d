"""Of which logged values the smallest or the largest is worth a column of its own, and what that is called."""

from inkwash.errors import UserError

FALLING = ("heldout/loss", "metrics/fd_", "metrics/fid_", "metrics/kid_")
RISING = tuple(f"metrics/{key}_" for key in ("accuracy", "isc", "precision", "recall", "density", "coverage"))
# The spread of a value, and what a perfect model would score, have no best.
NO_SCORES = ("_std_", "_of_train_images")


def direction(name: str) -> int:
    """-1 for values that had better be small, 1 for large, 0 where neither is best."""
    if any(part in name for part in NO_SCORES):
        return 0
    return -1 if name.startswith(FALLING) else int(name.startswith(RISING))


def sign_of(name: str, mode: str | None) -> int:
    """1 where the smallest score of a metric is the best, -1 where the largest is: by `mode`, min or max, or its kind.

    Args:
        name: as Suite.compute has it, or heldout_loss.
    """
    return {"min": 1, "max": -1}[mode] if mode else -1 if direction(f"metrics/{name}") > 0 else 1


def check_mode(key: str, mode: str | None) -> None:
    """Raise UserError unless it is one that `sign_of` knows."""
    if mode not in (None, "min", "max"):
        raise UserError(f"{key}={mode} must be min or max, or null for whichever is better of the metric")


def best_column(name: str) -> str:
    """best/fd_classifier_1350 for metrics/fd_classifier_1350."""
    return f"best/{name.removeprefix('metrics/').replace('/', '_')}"

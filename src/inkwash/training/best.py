"""Of which logged values the smallest or the largest is worth a column of its own, and what that is called."""

FALLING = ("heldout/loss", "metrics/fd_", "metrics/fid_", "metrics/kid_")
RISING = tuple(f"metrics/{key}_" for key in ("accuracy", "isc", "precision", "recall", "density", "coverage"))
# The spread of a value, and what a perfect model would score, have no best.
NO_SCORES = ("_std_", "_of_train_images")


def direction(name: str) -> int:
    """-1 for values that had better be small, 1 for large, 0 where neither is best."""
    if any(part in name for part in NO_SCORES):
        return 0
    return -1 if name.startswith(FALLING) else int(name.startswith(RISING))


def best_column(name: str) -> str:
    """best/fd_classifier_1350 for metrics/fd_classifier_1350."""
    return f"best/{name.removeprefix('metrics/').replace('/', '_')}"

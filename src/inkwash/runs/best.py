"""Directions of metrics, whether less or more is better, read from their records.

Each record in metrics.jsonl, summary.json and an evaluation's results says `lower_is_better`: true, false, or null for
a value that has no best (a standard deviation, an end of an interval). The metric's class is the source of it
(metrics/base.py). A dictionary {name: lower_is_better} is called `directions` here and everywhere else.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory

# Records written before they had the field: the first word of a value's name, and whether less of it is better.
OLD_NAMES = {"fd": True, "fid": True, "kid": True} | dict.fromkeys(
    ("accuracy", "isc", "precision", "recall", "density", "coverage"), False
)
FRECHET = re.compile(r"^fi?d(?=_|$)")
FLOOR = "_of_train_images"  # the end of the name of a distance of real images
OLD_SPREADS = ("std_", "low_", "high_")
HELDOUT_LOSS = "heldout_loss"  # in scores and tables; the loggers call it heldout/loss


def lower_is_better(record: Mapping[str, Any]) -> bool | None:
    """Return the direction of a metric's record; records without the field are known by the metric's name."""
    if "lower_is_better" in record:
        return record["lower_is_better"]
    key, _, rest = record["name"].partition("_")
    return None if rest.startswith(OLD_SPREADS) else OLD_NAMES.get(key)


def logged_directions(run: RunDirectory) -> dict[str, bool | None]:
    """Return the directions of a run's metrics under their logged names, metrics/NAME and heldout/loss.

    They come from metrics.jsonl, in the order of measuring. Lines that cannot be read are passed over: a run that
    trains may be in the middle of writing one.
    """
    found: dict[str, bool | None] = {}
    if run.metrics_jsonl.is_file():
        for line in run.metrics_jsonl.read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
                record = json.loads(line)
                found[f"metrics/{record['name']}"] = lower_is_better(record)
    return {**found, "heldout/loss": True}


def main_metric(directions: Mapping[str, bool | None], prefix: str | None = None) -> str | None:
    """Return the metric that decides: of those whose name begins so, or the first that has a best, or the first.

    Args:
        directions: of all metrics, in order.
        prefix: a metric's name or its beginning, of the user's choice; None for no choice. `fd` and `fid` are one. Of
            several names that begin so it means the one of the fewest words: fd_x_8 rather than fd_low_x_8.

    Returns:
        None if there are no metrics, or none with this prefix.
    """
    if prefix:
        found = (name for name in directions if name.startswith(prefix) or in_keys(name).startswith(in_keys(prefix)))
        return min(found, key=lambda name: name.count("_"), default=None)
    return next((name for name, lower in directions.items() if lower is not None), next(iter(directions), None))


def in_keys(name: str) -> str:
    """Return a value's name as its metric's key has it: fd_10k for fid_10k, which only Inception's features give."""
    return FRECHET.sub("fd", name)


def sign_of(lower: bool | None, mode: str | None = None) -> int:
    """Return s such that the best value v has the smallest s * v: 1, or -1 where the largest value is best.

    Args:
        lower: the metric's direction; of a value without one the smallest counts as best.
        mode: min or max, the user's choice; None to go by the direction.
    """
    return {"min": 1, "max": -1}[mode] if mode else -1 if lower is False else 1


def check_mode(key: str, mode: str | None) -> None:
    """Raise UserError unless mode is one that `sign_of` takes."""
    if mode not in (None, "min", "max"):
        raise UserError(f"{key}={mode} must be min or max, or null for the metric's own direction")


def floor_column(name: str, extractor: Any) -> str:
    """Return the column of metrics.csv with what real images reach of a metric.

    That is the distance of training images from the reference, or the classifier's accuracy on held-out images.
    """
    return f"metrics/{extractor}_heldout_accuracy" if name.startswith("accuracy_") else f"metrics/{name}{FLOOR}"


def best_column(name: str) -> str:
    """Return the column of a logged value's best: best/fd_classifier_1350 for metrics/fd_classifier_1350."""
    return f"best/{name.removeprefix('metrics/').replace('/', '_')}"

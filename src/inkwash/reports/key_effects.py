"""How much each key of a sweep matters by itself: a share of the variance between its jobs. Without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effect:
    """Share of the differences between jobs that a key explains.

    Attributes:
        share: 0 to 1, what chance would explain already taken off; None for too few jobs to tell.
        how: the method, in a few words.
    """

    key: str
    share: float | None
    how: str


def effect(key: str, settings: Sequence[str], values: Sequence[float]) -> Effect:
    """Return what a key's settings explain of the values of the jobs.

    For a key of few settings it is epsilon^2 = 1 - (SSW / (n - k)) / (SST / (n - 1)) of n jobs in k groups (Kelley
    1935), for a number that hardly repeats (r^2 - 1 / (n - 1)) / (1 - 1 / (n - 1)) of the rank correlation r. Both are
    about 0 for a key that does nothing.
    """
    n, groups = len(values), sorted(set(settings))
    numbers = as_numbers(settings)
    if numbers is not None and len(groups) > max(2, n // 2):
        return Effect(key, _by_rank(numbers, values) if n >= 4 else None, "rank correlation, squared")
    if len(groups) < 2 or n <= len(groups):
        return Effect(key, None, "too few jobs to tell")
    y = np.asarray(values, float)
    total = float(((y - y.mean()) ** 2).sum()) / (n - 1)
    members = [y[[setting == group for setting in settings]] for group in groups]
    within = sum(float(((own - own.mean()) ** 2).sum()) for own in members) / (n - len(groups))
    return Effect(key, max(0.0, 1 - within / total) if total else 0.0, f"{len(groups)} groups of jobs")


def _by_rank(x: Sequence[float], y: Sequence[float]) -> float:
    ranks_x, ranks_y = (np.unique(np.asarray(values), return_inverse=True)[1] for values in (x, y))
    if min(ranks_x.max(), ranks_y.max()) < 1:
        return 0.0
    r, chance = float(np.corrcoef(ranks_x, ranks_y)[0, 1]), 1 / (len(ranks_x) - 1)
    return max(0.0, (r**2 - chance) / (1 - chance))


def as_numbers(settings: Sequence[str]) -> list[float] | None:
    """Return settings as numbers; None if one is none."""
    try:
        return [float(setting) for setting in settings]
    except ValueError:
        return None

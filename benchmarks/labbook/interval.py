"""Intervals of a mean over seeds, and of one more seed."""

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t as student

LEVEL = 0.95


def of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval that holds the mean over all seeds with probability LEVEL: m -+ t s / sqrt(n).

    m and s are mean and standard deviation of the n values, t the quantile of Student's distribution with n - 1
    degrees of freedom. None for one value.
    """
    return _around(values, 1 / len(values))


def of_next(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval that holds the value of one more seed with probability LEVEL: m -+ t s sqrt(1 + 1 / n)."""
    return _around(values, 1 + 1 / len(values))


def _around(values: Sequence[float], variance: float) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * statistics.stdev(values) * math.sqrt(variance)
    mean = statistics.fmean(values)
    return mean - half, mean + half

"""Mean and standard deviation of metrics over the seeds of generated images."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inkwash.errors import UserError


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation of a metric over seeds; the deviation of a single seed is unknown, not 0."""

    mean: float
    std: float | None  # of the values, divided by n - 1
    n: int


def summarise(runs: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """Summarise each metric over the evaluations of several seeds, in the order of the first evaluation.

    Raises UserError unless all evaluations have the same metrics: a mean over some of the seeds would not say so.
    """
    if not runs or any(set(run) != set(runs[0]) for run in runs):
        raise UserError("evaluations can be summarised when there is at least one and all have the same metrics")
    return {name: _summary([run[name] for run in runs]) for name in runs[0]}


def _summary(values: list[float]) -> Summary:
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), std, len(values))

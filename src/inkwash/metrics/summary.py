"""One evaluation is one draw: the same metrics over several seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inkwash.errors import UserError


@dataclass(frozen=True)
class Summary:
    """Of one metric over seeds; the spread of a single seed is unknown, not 0."""

    mean: float
    std: float | None  # of the values, divided by n - 1
    n: int


def summarise(runs: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """Of each metric over the evaluations of several seeds, in the order of the first.

    Raises UserError when the evaluations have not the same metrics: a mean over some of the seeds would not tell so.
    """
    if not runs or any(set(run) != set(runs[0]) for run in runs):
        raise UserError("evaluations can be summarised when there is at least one and all have the same metrics")
    return {name: _summary([run[name] for run in runs]) for name in runs[0]}


def _summary(values: list[float]) -> Summary:
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), std, len(values))

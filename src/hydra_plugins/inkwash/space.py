"""Translate the search space of a study from Hydra's syntax to Optuna's distributions."""

import itertools
import math
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from inkwash.errors import UserError
from inkwash.sweeps.plan import MOST


def distribution(override: Override) -> Any:
    """Return Optuna's distribution for a list of choices, range(start,stop,step) or interval(low,high).

    tag(log,...) makes it logarithmic, int(interval(8,64)) one of whole numbers.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    step: Any = None
    try:
        if isinstance(value, IntervalSweep):
            ends: Any = value.start, value.end
        elif isinstance(value, RangeSweep):
            ends, step = _ends(value), value.step
        else:
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        low, high = ends
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("both ends must be finite numbers")
        log, whole = "log" in value.tags, all(isinstance(number, int) for number in (low, high, step or 0))
        if whole:
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=None if step is None else float(step))
    except (ValueError, HydraException) as error:
        raise UserError(f"{override.input_line}: {error}") from error


def _ends(steps: RangeSweep) -> tuple[Any, Any]:
    """Return the first and the last value of a range."""
    points: Any = steps.range()
    if not isinstance(points, range):  # fractions: only iterating finds the last one
        points = list(itertools.islice(points, MOST + 1))
    if not points:
        raise ValueError("it lists no values")
    if not isinstance(points, range) and len(points) > MOST:
        raise ValueError(f"it has more than {MOST:,} values: pass interval(low,high)")
    return points[0], points[-1]


def choices(space: Any) -> list[Any]:
    """List the choices of a distribution, or the lowest value of an interval."""
    return list(getattr(space, "choices", None) or [space.low])

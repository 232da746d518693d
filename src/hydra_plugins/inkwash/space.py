"""What a study may choose from, in Hydra's words and in Optuna's."""

import itertools
import math
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from inkwash.errors import UserError
from inkwash.sweeps.plan import MOST


def distribution(override: Override) -> Any:
    """Optuna's of what Hydra's syntax describes: choices, range(start,stop,step), interval(low,high); tag(log,...).

    int(interval(8,64)) means whole numbers.
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
    """The first and the last value."""
    points: Any = steps.range()
    if not isinstance(points, range):  # of fractions, which can only be counted through
        points = list(itertools.islice(points, MOST + 1))
    if not points:
        raise ValueError("it lists no values")
    if not isinstance(points, range) and len(points) > MOST:
        raise ValueError(f"it has more than {MOST:,} values: pass interval(low,high)")
    return points[0], points[-1]


def choices(space: Any) -> list[Any]:
    """Values that a distribution can give: all that are listed, or the lowest."""
    return list(getattr(space, "choices", None) or [space.low])

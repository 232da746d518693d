"""What a study may choose from, in Hydra's words and in Optuna's."""

from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from inkwash.errors import UserError


def distribution(override: Override) -> Any:
    """Optuna's of what Hydra's syntax describes: choices, range(start,stop,step), interval(low,high); tag(log,...).

    int(interval(8,64)) means whole numbers.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    step: Any = None
    if isinstance(value, IntervalSweep):
        ends: Any = value.start, value.end
    elif isinstance(value, RangeSweep):
        points = list(value.range())
        ends, step = (points[0], points[-1]), value.step
    else:
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    low, high = ends
    log, whole = "log" in value.tags, all(isinstance(number, int) for number in (low, high, step or 0))
    try:
        if whole:
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=None if step is None else float(step))
    except ValueError as error:
        raise UserError(f"{override.input_line}: {error}") from error


def choices(space: Any) -> list[Any]:
    """Values that a distribution can give: all that are listed, or the lowest."""
    return list(getattr(space, "choices", None) or [space.low])

"""Tell what a sweep's metric is, and whether less of it is better, before anything is measured. Without torch."""

import contextlib
from collections.abc import Mapping
from typing import Any

from inkwash.config.class_attributes import class_attribute
from inkwash.errors import UserError
from inkwash.runs.best import HELDOUT_LOSS, in_keys, main_metric

Directions = dict[str, bool | None]


def value_of(metrics: Mapping[str, Any], metric: str | None) -> str | None:
    """Return the name of the value that a sweep optimises, or its beginning; None for the first that has a best.

    Args: those of `minimizes`. Of a name in conf/metrics/ it is the first of its values that has a best: precision of
        prc.

    Raises:
        UserError: no metric gives such a value, as far as their sources tell.
    """
    if metric is None or HELDOUT_LOSS.startswith(metric):
        return metric
    declared: dict[str, Directions] = {}
    for name, node in metrics.items():
        with contextlib.suppress(UserError):
            declared[name] = _directions_of(name, node)
    keys = {key: lower for values in declared.values() for key, lower in values.items()}
    if _key_of(metric, keys):
        return metric
    if key := main_metric(declared.get(metric, {})):
        return key
    if not all(declared.get(name) for name in metrics):  # values that are known only when the class is imported
        return metric
    raise UserError(
        f"hydra.sweeper.metric={metric} is not measured: metrics=[{','.join(metrics)}] and the held-out images give "
        f"{', '.join([*keys, HELDOUT_LOSS])}; pass one of these, or add a metric to the list"
    )


def minimizes(metrics: Mapping[str, Any], metric: str | None) -> bool:
    """Return False if more of the metric is better; a value that has no best is minimised.

    Args:
        metrics: the configuration's, {name in conf/metrics/: node}; their classes say the direction.
        metric: a value's name or its beginning, a name in conf/metrics/, or heldout_loss; None for the first that has
            a best.

    Raises:
        UserError: the class does not say it in a literal.
    """
    if metric is not None and HELDOUT_LOSS.startswith(metric):
        return True
    declared = {name: _directions_of(name, node) for name, node in metrics.items()}
    if metric in declared:
        directions, metric = declared[metric], None
    else:
        directions = {key: lower for values in declared.values() for key, lower in values.items()}
    key = _key_of(metric, directions) if metric else main_metric(directions)
    return directions.get(key or "") is not False


def _directions_of(name: str, node: Any) -> Directions:
    """Return {key: lower_is_better} of a metric's node, from its class's source."""
    target = str((node or {}).get("_target_"))
    try:
        keys, lower = (class_attribute(target, attribute) for attribute in ("keys", "lower_is_better"))
    except ValueError as error:
        raise UserError(
            f"metrics.{name}: keys or lower_is_better of {target} are not literals, so the sweep cannot read whether "
            "less is better: write them as literals, or pass hydra.sweeper.direction=minimize or maximize"
        ) from error
    keys = keys or ()
    return dict(zip(keys, lower if isinstance(lower, tuple) else [lower] * len(keys), strict=False))


def _key_of(metric: str, directions: Directions) -> str | None:
    """Return the key whose value has this name or beginning: kid_std of kid_std_inception_10k, fd of fid_10k."""
    whole = [key for key in directions if f"{in_keys(metric)}_".startswith(f"{key}_")]
    return max(whole, key=len, default=None) or main_metric(directions, metric)

"""Tell, before anything is measured, whether a sweep's metric is better when it is smaller. Without torch."""

from collections.abc import Mapping
from typing import Any

from inkwash.config.class_attributes import class_attribute
from inkwash.errors import UserError
from inkwash.runs.best import HELDOUT_LOSS, main_metric

Directions = dict[str, bool | None]


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
    name = f"fd{metric.removeprefix('fid')}" if metric.startswith("fid") else metric
    whole = [key for key in directions if f"{name}_".startswith(f"{key}_")]
    return max(whole, key=len, default=None) or main_metric(directions, name)

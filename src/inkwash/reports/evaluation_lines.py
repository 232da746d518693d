"""Join the results of an evaluation to the lines of its charts: only those that differ in nothing that is left out."""

from collections.abc import Sequence
from typing import Any

SEED = ("seed",)
STEPS = ("steps", "spacing.steps", "sampler.spacing.steps")
Results = Sequence[dict[str, Any]]


def remaining(name: str, *keys: str) -> str:
    """Return the name of a cell, the settings that tell it from the others, without those of some keys."""
    return " ".join(part for part in name.split() if part.partition("=")[0].lstrip("+") not in keys)


def along_evaluations(metric: str, results: Results) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """Return the results that have a metric by line and, within it, by network evaluations for each image.

    Results of one line and number of evaluations differ in their seed alone. Of images whose evaluations were not
    counted, which are at 0, those of another number of steps are another line.
    """
    found: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for r in results:
        if r["metrics"].get(metric) is not None:
            left_out = (*SEED, *STEPS) if r["evaluations"] else SEED
            line = remaining(r["name"], *left_out) or sampler_of(r)
            found.setdefault(line, {}).setdefault(r["evaluations"] or 0, []).append(r)
    return found


def sampler_of(result: dict[str, Any]) -> str:
    """Return the sampler of a result, and its guidance if there is any: a name where no setting is left for one."""
    guidance = result.get("guidance")
    return str(result["sampler"]) + (f", guidance {guidance:g}" if guidance not in (None, 1) else "")

"""Tell whether grids of several runs, side by side, show the same images of them. Without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from inkwash.config.shapes import network_shape
from inkwash.reports.run_files import RunFiles


def same_noise(runs: Sequence[tuple[str, RunFiles]]) -> str:
    """Say what image i of all runs has in common: the noise it begins from, the class it is drawn for; "" of one run.

    Image i begins from noise of the network's shape, by callbacks.samples.seed; its class is i mod model.num_classes.

    Args:
        runs: name and files of each run, whose configuration can be read.
    """
    if len(runs) < 2:
        return ""
    shapes = {name: " x ".join(map(str, network_shape(own.config))) for name, own in runs}
    if len(set(shapes.values())) > 1:
        return f"They begin from different noise: the networks draw {_by_value(shapes)}."
    seeds = {name: own.callback("samples").get("seed", 0) for name, own in runs}
    if len(set(seeds.values())) > 1:
        return f"They begin from different noise: callbacks.samples.seed is {_by_value(seeds)}."
    noise = "Image i of every run begins from the same noise"
    counts = {name: (own.config.get("model") or {}).get("num_classes") for name, own in runs}
    if len(set(counts.values())) > 1:
        return f"{noise}, but is not of the same class: model.num_classes is {_by_value(counts)}."
    (first, *others) = (own.classes for _, own in runs)
    if not first:
        return f"{noise}."
    same = all(names == first for names in others)
    return f"{noise}, and is of {'the same class' if same else 'the class of the same number'}."


def _by_value(values: Mapping[str, Any]) -> str:
    """List each value with the names that have it: 0 in this, that; 5 in other."""
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault("none" if value is None else str(value), []).append(name)
    return "; ".join(f"{value} in {', '.join(of_it)}" for value, of_it in names.items())

"""Replace `auto` in a configuration's data by what images and labels say: data.shape, num_classes, source.resize.

In the command's own process and without torch, before there is a run directory: config.yaml of a run never says auto,
so that a resume, sampling and evaluation know what the run was trained with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from inkwash.commands.auto_keys import AUTO, data_of, finds_labels, named_images, wanted_keys, with_stand_ins
from inkwash.config.instantiate import build
from inkwash.data.labels import Classes, NoClassesError
from inkwash.data.peek import Wanted, look, typed
from inkwash.errors import UserError

MOST = 10_000  # classes; more different labels are numbers or names of images
LABELS = {"label_column": "label", "label": "cls"}  # arguments of sources that name the labels, and their defaults
SHOWN = 5  # names of classes


def find(config: DictConfig, known: Mapping[str, Any] | None = None) -> list[str]:
    """Replace what is `auto` in config.data, and data.shape=64 by [channels,64,64]; check a given number of classes.

    The default label of a source (label_column=label) becomes null if there is no such label, or if the labels are
    no classes.

    Args:
        known: data of the run that goes on, or a part of them, whose values count.

    Returns:
        A sentence for each value that was found.

    Raises:
        UserError: images or labels cannot be read, or data.num_classes is not the number of classes.
    """
    raw, known, said = data_of(config), known or {}, []
    wanted = wanted_keys(raw)
    plain: Any = OmegaConf.to_container(with_stand_ins(config), resolve=True)
    data = {"path": None, "source": {}, **plain["data"], **{key: raw[key] for key in wanted & raw.keys()}}
    found, source = _of_the_run(data, known, wanted), None
    if finds_labels(data["source"]):
        source = build(data["source"])
    if source is not None and "num_classes" not in known:
        said += _find_classes(source, data, found)
    if "shape" in wanted - found.keys():
        said += _find_shape(source, data, found, "source.resize" in wanted)
    if "source.resize" in wanted:
        found.setdefault("source.resize", False)
    for key, value in found.items():
        OmegaConf.update(config, f"data.{key}", value, merge=False)
    return said


def classes_in(labels: np.ndarray, classes: Classes) -> tuple[int | None, str]:
    """Return the number of classes, or None and the reason why labels are no classes, "" if there are none.

    Args:
        labels: int64 (N,), -1 where an image has none.
        classes: their names, if they have any.
    """
    used = labels[labels >= 0]
    number, different = max(len(classes.names), int(used.max(initial=-1)) + 1), len(np.unique(used))
    if different == 0:
        return None, ""
    if different == 1:
        return None, f"all labels are the same, {classes.names[used[0]] if classes.names else used[0]}"
    if len(used) < len(labels):
        return None, f"{len(labels) - len(used):,} of {len(labels):,} images have no label"
    if different == len(used):
        return None, f"each of the {different:,} images has a label of its own"
    if fraction := _fraction(classes.names):
        return None, f"they are numbers that are not whole, {fraction} for example"
    if number > MOST:
        return None, f"{different:,} different labels, which go up to {number - 1:,}, are too many to be classes"
    return number, ""


def _fraction(names: Sequence[str]) -> str | None:
    """Return a number that is not whole if all names are numbers and there is one; else None."""
    try:
        return next((name for name in names if not float(name).is_integer()), None) if [*map(float, names)] else None
    except ValueError:
        return None


def _find_classes(source: Any, data: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Find num_classes by a source's labels, or compare a given one with them."""
    default = next((key for key, name in LABELS.items() if data["source"].get(key) == name), None)
    number, names, labels = None, (), np.empty(0, np.int64)
    try:
        labels, classes = source.labels(data["path"])
        (number, reason), names = classes_in(labels, classes), classes.names
    except NoClassesError as error:
        if default is None or data["num_classes"] not in (AUTO, None):
            raise
        found[f"source.{default}"], reason = None, error.reason
    if data["num_classes"] != AUTO:
        _check_number(data["num_classes"], labels, names)
        return []
    found["num_classes"] = number
    if number is None:
        if reason and default:
            found[f"source.{default}"] = None
        return [f"data.num_classes=null, trained without classes: {reason}"] if reason else []
    shown = _list(names) if names else f"the labels go up to {number - 1}"
    return [f"data.num_classes={number}: {shown}; data.num_classes=null trains without classes"]


def _check_number(number: int | None, labels: np.ndarray, names: Sequence[str]) -> None:
    """Raise UserError for fewer classes than there are, or more than there are names for."""
    largest = int(labels.max(initial=-1))
    if number is None or not (largest >= number or 0 < len(names) < number):
        return
    found = max(len(names), largest + 1)
    classes = f"there are {found} classes, {_list(names)}" if names else f"the labels go up to {largest}"
    raise UserError(
        f"data.num_classes={number}, but {classes}: set data.num_classes={found}, or null to train without classes"
    )


def _find_shape(source: Any, data: dict[str, Any], found: dict[str, Any], resize: bool) -> list[str]:
    """Find the shape by the headers of some images.

    Args:
        resize: also decide whether they must be scaled.
    """
    path = data["path"]
    place = source.place(path) if path and hasattr(source, "place") else path
    wanted = Wanted(getattr(source, "suffixes", ()), **named_images(data["source"]))
    seen = look(place, wanted) if place else None
    if seen is None:
        raise UserError(
            f"data.shape={data['shape']}, but no image of data.path={path} tells its size: pass "
            "data.shape=[channels,height,width]"
        )
    if data["source"].get("background") is not None:  # behind transparency
        seen = seen._replace(channels=min(seen.channels, 3))
    shape = seen.shape(None if data["shape"] == AUTO else data["shape"])
    found["shape"] = shape
    if resize:
        found["source.resize"] = seen.scales(shape)
    scaled = ", scaled and cropped" * (seen.scales(shape) and bool(found.get("source.resize", True)))
    return [f"data.shape={typed(shape)}: {seen}{scaled}; data.shape=... for another"]


def _of_the_run(data: dict[str, Any], known: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """Return the values of the run that goes on, by key."""
    found = {key: known[key] for key in ("shape", "num_classes") if data.get(key) == AUTO and key in known}
    if "shape" in known and known["shape"][1:] == [data.get("shape")] * 2:  # a side
        found["shape"] = known["shape"]
    source = known.get("source") or {}
    if known and "source.resize" in wanted:
        found["source.resize"] = source.get("resize", True)
    for key, default in LABELS.items():
        if data["source"].get(key) == default and source.get(key, default) is None:
            found[f"source.{key}"] = None
    return found


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)

"""Tell what of a configuration's data is `auto`, which auto_data.py finds.

Without numpy, so that a mistake on a command line is told at once.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.config.class_attributes import class_attribute
from inkwash.errors import UserError

AUTO = "auto"
STAND_INS = {"shape": [3, 64, 64], "num_classes": None, "source.resize": True}
IMAGES = ("image_column", "image")  # arguments of sources that name the images


def check_shape(config: DictConfig) -> None:
    """Raise UserError for a data.shape that has its channels last, or that has no value and could have one."""
    shape: Any = data_of(config).get("shape")
    if _channels_last(shape):
        first = [shape[2], *shape[:2]]
        raise UserError(f"data.shape={shape} is [channels, height, width]: channels come first, data.shape={first}")
    if shape != "???" or data_of(config).get("path") in ("???", None):
        return
    from inkwash.data.peek import Wanted, advice  # not at the top: it imports numpy and pyarrow

    wanted = Wanted((), **named_images(data_of(config).get("source")))
    if found := advice(str(OmegaConf.select(config, "data.path")), wanted):
        raise UserError(f"data.shape has no value yet: {found}")


def is_auto(config: DictConfig) -> bool:
    """Tell whether `find` has something to replace, or a number of classes to compare with the labels."""
    data = data_of(config)
    return bool(wanted_keys(data)) or (isinstance(data.get("num_classes"), int) and finds_labels(data.get("source")))


def with_stand_ins(config: DictConfig) -> DictConfig:
    """Return a configuration whose other values can be checked before any image is looked at."""
    if not (wanted := wanted_keys(data_of(config))):
        return config
    plain: Any = OmegaConf.to_container(config)
    model = plain.get("model")
    classes = model.get("num_classes") if isinstance(model, dict) else None
    config = config.copy()
    for key in wanted:
        value = classes if key == "num_classes" and isinstance(classes, int) else STAND_INS[key]
        OmegaConf.update(config, f"data.{key}", value, merge=False)
    return config


def data_of(config: DictConfig) -> dict[str, Any]:
    """Return the node `data` unresolved, {} if there is none."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    data = plain.get("data")
    return data if isinstance(data, dict) else {}


def wanted_keys(data: dict[str, Any]) -> set[str]:
    """Return the keys below `data` that are to be found."""
    wanted = {key for key in ("shape", "num_classes") if data.get(key) == AUTO}
    if type(data.get("shape")) is int:
        wanted.add("shape")
    source = data.get("source")
    return wanted | ({"source.resize"} if isinstance(source, dict) and source.get("resize") == AUTO else set())


def finds_labels(source: Any) -> bool:
    """Tell whether a source has `labels`, without importing it."""
    return isinstance(source, dict) and bool(class_attribute(str(source.get("_target_")), "finds_labels"))


def named_images(source: Any) -> dict[str, str]:
    """Return what the arguments of a source say about which of several images of a row or sample is used."""
    named = {key: source.get(key) for key in IMAGES} if isinstance(source, dict) else {}
    return {key: value for key, value in named.items() if isinstance(value, str)}


def _channels_last(shape: Any) -> bool:
    """Tell whether a shape looks like [height, width, channels]."""
    numbers = isinstance(shape, list) and len(shape) == 3 and all(isinstance(size, int) for size in shape)
    return numbers and shape[2] in (1, 3, 4) and min(shape[:2]) > 4

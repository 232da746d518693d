"""Quotes that Hydra's grammar asks for, and that a shell takes away: for paths, and names that look like numbers."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

# Last parts of keys whose values are files, folders or names of the user's, with any letters.
OF_PATHS = {
    "path", "heldout_path", "images", "folder", "out", "pipeline", "init_from", "reference_file", "cache_dir",
    "weights_path", "label", "notes",
}  # fmt: skip
# Keys of names and places that may look like a number: Hydra would read 1e-4 as 0.0001, and true as True.
OF_NAMES = {
    "run", "sweep", "init_from", "out", "images", "folder", "pipeline", "reference_file", "cache_dir",
    "name", "entity", "project", "data.path",
    *(f"data.source.{name}" for name in (
        "heldout_path", "cache_dir", "config", "revision", "image_column", "label_column", "image", "label",
    )),
    "autoencoder.path", "autoencoder.cache", "extractor.cache_dir", "extractor.weights_path", "extractor.weights_hash",
    "callbacks.evaluation.cache_dir", "callbacks.evaluation.reference_file", "guide.bad.run", "guide.bad.like",
    "task.images", "task.mask",
    *(f"logger.wandb.{name}" for name in ("project", "entity", "name", "group", "job_type", "notes")),
    "logger.mlflow.tracking_uri", "logger.mlflow.experiment", "logger.mlflow.name",
    "tracking.project", "tracking.entity", "tracking.notes",
}  # fmt: skip
# Nodes that take any key; what they do not know is refused by name (trainer_options.py).
OPEN = ("trainer.options.",)


def with_quotes(argument: str) -> str:
    """Put a path or a name into the quotes that Hydra's grammar asks for, if it has letters like ~, (, [, = or ü.

    A shell takes quotes away, so that they would have to be typed twice: data.path='"~/photos"'. What Hydra can read as
    it is, a list for a sweep for example, is left so, unless it is a name that it reads as a number. A node that takes
    any key takes it without a plus here.
    """
    if argument.startswith(OPEN):
        argument = f"++{argument}"
    key, equals, value = argument.partition("=")
    if equals and key.lstrip("+") in OF_NAMES:
        argument = f"{key}={as_name(value)}"
    if not equals or key.lstrip("+").rpartition(".")[2] not in OF_PATHS or parsed(argument) is not None:
        return argument
    escaped = value.replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    return quoted if parsed(quoted) is not None else argument


def as_name(value: str) -> str:
    """Put a name into quotes if Hydra's grammar takes it for a number or a boolean."""
    read = parsed(f"name={value}")
    return f'"{value}"' if read is not None and isinstance(read.value(), int | float) else value


def parsed(argument: str) -> Override | None:
    """Parse an override by Hydra's grammar; None if that does not take it."""
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError, RecursionError):
        return None

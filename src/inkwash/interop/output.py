"""Write what an export consists of: a new folder or file, whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from inkwash.errors import UserError
from inkwash.files import write_json

RECORD = "inkwash.json"  # what was exported, and from which run


@dataclass(frozen=True)
class Options:
    """Options of an export beside run, out and weights; a format ignores those that it does not use.

    Attributes:
        license: of the weights, by its name on the Hugging Face hub; None if none is given.
        repo: user/name on the hub, for the card's examples.
        record: what is written to inkwash.json.
        sampler: node of the whole sampler's file.
        guidance: scale of classifier-free guidance in that file; None for that of the run's sample grids.
        batch: number of images of the files; None for any.
    """

    license: str | None = None
    repo: str | None = None
    record: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] | None = None
    guidance: float | None = None
    batch: int | None = None


def new(out: str | Path) -> Path:
    """Return `out` as a path. Raises UserError if there is something already."""
    if Path(out).exists():
        raise UserError(f"out={out} exists already: choose another name or delete it")
    return Path(out)


@contextlib.contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which is renamed to `out` at the end, or deleted if the body fails."""
    partial = out.with_name(f".{out.name}-{os.getpid()}.partial")  # of this process alone
    try:
        partial.mkdir(parents=True)
        yield partial
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write weights as safetensors. Raises UserError if the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(state, partial, {"format": "pt", **metadata})
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error}): free some space, or choose another out=") from error
    os.replace(partial, path)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write what was exported, so that the same command knows its own folder again."""
    write_json(folder / RECORD, record)


def is_export_of(out: Path, record: dict[str, Any]) -> bool:
    """Tell whether `out` is a folder that was exported with just this record."""
    try:
        return json.loads((out / RECORD).read_text("utf-8")) == json.loads(json.dumps(record))
    except (OSError, ValueError):
        return False

"""Going on where a run stopped: which checkpoint, with which changes, as if nothing had happened."""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.training import changes
from inkwash.training.checkpoint_files import candidates
from inkwash.training.checkpoint_io import read_checkpoint
from inkwash.training.module import NUM_SHARDS, DiffusionModule
from inkwash.training.restoring import check_state

log = logging.getLogger(__name__)


def find(directory: Path, training: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """The newest sound checkpoint of a run and its content, or None where there is none yet.

    Args:
        training: it must have what a resume needs, not only weights.

    Raises:
        UserError: there are some, and none is sound.
    """
    files = candidates(directory)
    for path in files:
        try:
            return path, read_checkpoint(path, training)
        except UserError as error:
            log.warning("passed over   %s", error)
    if files:
        raise UserError(f"no checkpoint of {directory} is sound: delete {files[0].parent} to start afresh")
    return None


def compare(directory: Path, stored: dict[str, Any], config: dict[str, Any]) -> None:
    """Say what changed since the checkpoint. Raises UserError where it cannot go on with that."""
    old = stored.get("config", {})
    if change := changes.forbidden(old, config, stored["global_step"]):
        raise UserError(changes.refusal(directory, change))
    for line in changes.described(changes.changes(old, config)):
        log.info("changed      %s", line)


def compare_layout(stored: dict[str, Any], config: dict[str, Any], processes: int) -> None:
    """Say what another number of processes or micro-batches means: whether all draw what the others drew."""
    if config["trainer"]["accumulate_grad_batches"] == "auto":
        return  # it says itself what it chooses (memory.py)
    old = stored.get("layout")
    new = {"processes": processes, "micro_batches": config["trainer"]["accumulate_grad_batches"]}
    if old is None or old == new:
        return
    streams = math.gcd(NUM_SHARDS, config["data"]["batch_size"])
    same = all(streams % (layout["processes"] * layout["micro_batches"]) == 0 for layout in (old, new))
    means = "the same images, noise and times" if same else f"the same images, but other noise: {streams} streams of it"
    log.info(
        "processes    %d x %d -> %d x %d micro-batches: %s; results agree to rounding, no longer bit for bit",
        old["processes"], old["micro_batches"], new["processes"], new["micro_batches"],
        means if same else means + " are shared out differently",
    )  # fmt: skip


def micro_batches(found: tuple[Path, dict[str, Any]] | None) -> int | None:
    """How many parts a step's batch had in a checkpoint of as many processes as there are now, if that is known."""
    layout = (found[1].get("layout") if found else None) or {}
    return layout.get("micro_batches") if layout.get("processes") == int(os.environ.get("WORLD_SIZE", 1)) else None


def compare_images(stored: dict[str, Any], fingerprint: str) -> None:
    """Say so when the files of data.path are no longer what the run was trained on."""
    if stored.get("images", fingerprint) != fingerprint:
        log.warning("the training images are not those of the checkpoint: the files of data.path have changed")


def forget_after(records: Path, step: int) -> None:
    """Drop the lines of metrics.jsonl of a later step, one that a kill cut short, and what is no record."""
    if not records.is_file():
        return
    kept = [
        line for line in records.read_text("utf-8", "replace").splitlines(keepends=True) if 0 <= _step_of(line) <= step
    ]
    partial = records.with_name(f"{records.name}.partial")
    partial.write_text("".join(kept), "utf-8")
    os.replace(partial, records)


def _step_of(line: str) -> int:
    try:
        record = json.loads(line)
        whole = line.endswith("\n") and isinstance(record["name"], str) and isinstance(record["value"], int | float)
        return int(record["step"]) if whole else -1
    except (ValueError, TypeError, LookupError, OverflowError):
        return -1


def start_from(path: Path, module: DiffusionModule) -> None:
    """Give a new run the averaged weights of a checkpoint, network and average alike; nothing else of it.

    Args:
        path: the file, or a run, whose newest it is then.

    Raises:
        UserError: the network is another one.
    """
    found = find(path, training=False) if path.is_dir() else (path, read_checkpoint(path))
    if found is None:
        raise UserError(f"init_from={path} has no checkpoint yet")
    path, stored = found
    prefix = "ema_denoiser."
    state = {name[len(prefix) :]: value for name, value in stored["state_dict"].items() if name.startswith(prefix)}
    for denoiser in (module.denoiser, module.ema_denoiser):
        try:
            check_state(state, denoiser)
        except UserError as error:
            raise UserError(f"init_from={path} is of another network: choose its model") from error
        denoiser.load_state_dict(state)
    log.info("weights      of %s, averaged, after step %d", path, stored["global_step"])
    meant = [{key: c.get(key) for key in ("schedule", "prediction")} for c in (stored.get("config", {}), module.config)]
    for change in changes.changes(*meant):
        log.info("differs      %s: %s there, %s here", change.key, change.old, change.new)

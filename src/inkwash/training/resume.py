"""Plan how a training goes on: from which checkpoint, with which changes, bit for bit if nothing changed.

Four files know about resuming: runs/checkpoint_files.py (the files there are), runs/resume_check.py (the keys that may
change), this one (the plan of a rank), checkpoints/restore.py (the stored state, adapted to the configuration).
"""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkwash.autoencoders.base import Autoencoder
from inkwash.checkpoints.io import read_checkpoint
from inkwash.checkpoints.restore import check_state
from inkwash.errors import UserError
from inkwash.files import write_text
from inkwash.runs import resume_check
from inkwash.runs.directory import RunDirectory, find_weights
from inkwash.training.compute_mode import ComputeMode
from inkwash.training.initial_weights import take_weights
from inkwash.training.module import NUM_SHARDS, DiffusionModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePlan:
    """The start of a training: its checkpoint, or its initial weights.

    Attributes:
        path: the checkpoint; None for a run without checkpoints.
        stored: its content.
        init_from: the checkpoint or run whose averaged weights a new run starts from, or None.
        micro_batches: number of micro-batches that the checkpoint was trained with, if on as many processes; or None.
        compute: the mode in which the checkpoint's network computed; None if an older version has written it.
        messages: lines for the log, one for each change since the checkpoint.
    """

    path: Path | None
    stored: dict[str, Any]
    init_from: Path | None
    micro_batches: int | None
    compute: ComputeMode | None
    messages: list[str]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.stored.get("global_step", 0)

    def announce(self) -> None:
        """Log what changed and from where the training goes on."""
        for message in self.messages:
            log.info(message)
        if self.path is not None:
            log.info("resuming     from step %d, %s", self.step, self.path)

    def prepare(self, module: DiffusionModule, data: Any) -> None:
        """Load init_from into a new run's module; check a resumed run's weights, and warn if its images have changed.

        Raises:
            UserError: the weights are those of another network or objective.
        """
        if self.path is None:
            if self.init_from is not None:
                self._start_from(self.init_from, module, getattr(data, "autoencoder", None))
            return
        check_state(self.stored["state_dict"], module)
        if self.stored.get("images", data.train.fingerprint) != data.train.fingerprint:
            log.warning("the training images are not those of the checkpoint: the files of data.path have changed")

    def _start_from(self, path: Path, module: DiffusionModule, autoencoder: Autoencoder | None) -> None:
        """Load the averaged weights of a checkpoint, or of the newest one of a run, into a new run's module."""
        newest = find(RunDirectory(path), training=False) if path.is_dir() else (path, read_checkpoint(path))
        if newest is None:
            raise UserError(
                f"init_from={path} has no checkpoint yet: train that run first, or pass init_from=FILE.ckpt"
            )
        take_weights(*newest, module, autoencoder)


def plan(run: RunDirectory, config: dict[str, Any], world_size: int) -> ResumePlan:
    """Find the newest sound checkpoint of a run and compare its configuration with the current one.

    Raises:
        UserError: no checkpoint is sound, or a key changed that the checkpoint does not allow.
    """
    newest = find(run)
    if newest is None:
        init_from = config["init_from"]
        return ResumePlan(None, {}, None if init_from is None else find_weights(init_from), None, None, [])
    path, stored = newest
    old = stored.get("config", {})
    if change := resume_check.forbidden(old, config, stored["global_step"]):
        raise UserError(resume_check.refusal(run, change))
    messages = [f"changed      {line}" for line in resume_check.described(resume_check.changes(old, config))]
    layout = stored.get("layout") or {}
    known = layout.get("micro_batches") if layout.get("processes") == world_size else None
    mode = ComputeMode.stored(stored.get("compute"))
    return ResumePlan(path, stored, None, known, mode, [*messages, *_layout_messages(layout, config, world_size)])


def find(run: RunDirectory, training: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest sound checkpoint of a run and its content, or None if there is none yet.

    Args:
        training: require what a resume needs, not only weights.

    Raises:
        UserError: there are checkpoints, but all of them are damaged.
    """
    files = run.checkpoints.newest_first()
    for path in files:
        try:
            return path, read_checkpoint(path, training)
        except UserError as error:
            log.warning("passed over   %s", error)
    if files:
        raise UserError(f"no checkpoint of {run} is sound: delete {files[0].parent} to start afresh")
    return None


def _layout_messages(old: dict[str, Any], config: dict[str, Any], processes: int) -> list[str]:
    """Return a line on the effect of another number of processes or micro-batches on images and noise."""
    parts = config["trainer"]["accumulate_grad_batches"]
    new = {"processes": processes, "micro_batches": parts}
    if not old or old == new or parts == "auto":  # auto logs its choice itself (micro_batches.py)
        return []
    streams = math.gcd(NUM_SHARDS, config["data"]["batch_size"])
    same = all(streams % (layout["processes"] * layout["micro_batches"]) == 0 for layout in (old, new))
    means = (
        "the same images, noise and times"
        if same
        else f"the same images, but other noise: its {streams} streams are divided differently"
    )
    return [
        f"processes    {old['processes']} x {old['micro_batches']} -> {processes} x {parts} micro-batches: {means}; "
        "results agree to rounding, no longer bit for bit"
    ]


def rewind(run: RunDirectory, plan: ResumePlan, loggers: list[Any]) -> None:
    """Delete half-written files, and the records of steps after the checkpoint, which will be repeated."""
    run.checkpoints.remove_partial()
    step = -1 if plan.path is None else plan.step
    forget_after(run.metrics_jsonl, step)
    for logger in loggers:
        if hasattr(logger, "forget_after"):
            logger.forget_after(step)


def forget_after(records: Path, step: int) -> None:
    """Drop from metrics.jsonl the records of later steps, and lines that are cut short or not a record."""
    if not records.is_file():
        return
    lines = records.read_text("utf-8", "replace").splitlines(keepends=True)
    write_text(records, "".join(line for line in lines if 0 <= _step_of(line) <= step))


def _step_of(line: str) -> int:
    try:
        record = json.loads(line)
        whole = line.endswith("\n") and isinstance(record["name"], str) and isinstance(record["value"], int | float)
        return int(record["step"]) if whole else -1
    except (ValueError, TypeError, LookupError, OverflowError):
        return -1

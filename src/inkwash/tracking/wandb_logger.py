"""Weights & Biases, while a run is trained. Beside job_tracking.py the only file that knows it."""

import contextlib
import csv
import functools
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from inkwash.errors import UserError
from inkwash.reports.image_grid import grid
from inkwash.runs.best import best_column, logged_directions, sign_of
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.wandb_offline import has_api_key

log = logging.getLogger(__name__)
STEP = "trainer/global_step"


def while_it_lives(method: Callable[..., None]) -> Callable[..., None]:
    """Do without W&B once its own process is gone: schedulers send SIGTERM to that one too, in the middle of a step."""

    @functools.wraps(method)
    def call(self: "Tracker", *args: Any, **kwargs: Any) -> None:
        if self.gone:
            return
        try:
            method(self, *args, **kwargs)
        except ConnectionError as error:
            self.gone = True
            log.warning("W&B          its own process has ended (%s); metrics.csv goes on without it", error)

    return call


class Tracker(WandbLogger):
    """The run directory's run in W&B: online when there is an API key and offline, without a question, otherwise.

    Every row carries the optimizer step, which is the axis of every plot. What a resumed run does a second time makes
    no second point, for W&B takes none back: W&B's own records say what it has. The best values go to the summary as
    best/NAME, because W&B's own minimum begins anew with every start of a run.

    Args:
        directory: the run directory; its run.json keeps the W&B run's id, so that a resume continues the same W&B run.
        entity, project, name, group, job_type, tags, notes: as in W&B; name is the run directory's by default, group
            the sweep's.
        mode: online, offline or disabled; None decides by WANDB_MODE and then by the key.
        sample_table: beside every grid, send a table with each image and the class that was asked for.
        artifacts: at the end, send best.ckpt and last.ckpt with config.yaml as versions `best` and `last` of an
            artifact. Each is a run directory to sample from.
    """

    def __init__(
        self,
        directory: str,
        project: str,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = "train",
        tags: list[str] | None = None,
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        sample_table: bool = True,
        artifacts: bool = False,
    ):
        self.directory, self.sample_table, self.artifacts = Path(directory), sample_table, artifacts
        about = json.loads((self.directory / "run.json").read_text())
        keep_to(self.directory)
        super().__init__(
            project=project,
            entity=entity,
            name=name or self.directory.name,
            id=about["id"],
            save_dir=directory,
            group=group or about["sweep"],
            job_type=job_type,
            tags=tags,
            notes=notes,
            mode=chosen_mode(mode),
            resume="allow",
            # By default what was logged in the 15 s before a kill is lost, though a checkpoint may be younger.
            settings=wandb.Settings(x_transaction_log_flush_interval=0.1),
        )
        self._wandb_init.pop("anonymous", None)  # WandbLogger always passes it, and W&B always complains
        self._steps: dict[str, int] | None = None  # the last of each value that W&B has
        self._best: dict[str, float] = {}
        self._directions: dict[str, bool | None] = {"heldout/loss": True}
        self._defined: set[str] = set()
        self.gone = False

    @rank_zero_only
    @while_it_lives
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        assert step is not None, "every number here belongs to a step"
        run = self.experiment
        if self._steps is None:
            self._steps = steps_sent(self.directory, str(self._id))
            self._note_best(earlier_rows(self.directory))
        # What W&B has already counts too: metrics.csv has forgotten the steps that are done again.
        scored = self._note_best([metrics])
        new = {name: value for name, value in metrics.items() if step > self._steps.get(name, -1)}
        if not new:
            return
        for name in sorted(new.keys() - self._defined):
            # By name, for W&B applies a pattern to numbers only, not to pictures and tables.
            run.define_metric(name, step_metric=STEP)
        self._defined |= new.keys()
        super().log_metrics(new, step)
        self._steps |= dict.fromkeys(new, step)
        if scored:
            run.summary.update(self._best)

    def _note_best(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether there was any value that has a best."""
        names = {name for row in rows for name in row if name.startswith("metrics/")}
        if names - self._directions.keys():  # the record of a metric is written before its value is logged
            self._directions |= {**dict.fromkeys(names), **logged_directions(RunDirectory(self.directory))}
        pairs = ((name, float(row[name])) for row in rows for name in row if self._directions.get(name) is not None)
        scores = [(name, value, self._directions[name]) for name, value in pairs]
        for name, value, lower in scores:
            if math.isfinite(value):
                column, sign = best_column(name), sign_of(lower)
                self._best[column] = sign * min(sign * value, sign * self._best.get(column, value))
        return bool(scores)

    @rank_zero_only
    @while_it_lives
    def log_samples(self, sheet: Tensor, images: Tensor, labels: Tensor | None, step: int) -> None:
        """Show a grid (3, height, width), and its images (n, C, H, W) beside their labels (n,); all uint8."""
        self.log_image("samples", [_pixels(sheet)], step, caption=[f"step {step}"])
        if labels is not None and self.sample_table:
            rows = sorted(zip(labels.tolist(), range(len(images)), strict=True))
            data = [[label, i, wandb.Image(_pixels(grid(images[i : i + 1], 1, gap=0)))] for label, i in rows]
            self.log_table("samples_by_class", ["class", "noise", "image"], data, step=step)

    @rank_zero_only
    @while_it_lives
    def log_neighbours(self, sheet: Tensor, step: int) -> None:
        """Show a grid of pairs (3, height, width), uint8: a sample and the training image nearest to it."""
        self.log_image("neighbours", [_pixels(sheet)], step, caption=[f"step {step}"])

    @rank_zero_only
    @while_it_lives
    def finalize(self, status: str) -> None:
        """The training is over, however it ended."""
        super().finalize(status)
        if not self.artifacts or self._experiment is None:
            return
        for alias in ("best", "last"):  # in this order, for W&B calls what came last `latest`
            if (self.directory / "checkpoints" / f"{alias}.ckpt").exists():
                artifact = checkpoint_artifact(self.directory, f"{alias}.ckpt")
                self.experiment.log_artifact(artifact, aliases=[alias])


def keep_to(directory: Path) -> None:
    """Have W&B say little, and keep all of its files in a run's directory."""
    os.environ.setdefault("WANDB_SILENT", "true")
    # Else copies of tables and checkpoints wait for their upload in the home directory.
    os.environ.setdefault("WANDB_DATA_DIR", str((directory / "wandb").resolve()))


def chosen_mode(mode: str | None) -> str:
    """online, offline or disabled: as asked, as WANDB_MODE says, or by whether there is an API key."""
    told = os.environ.get("WANDB_MODE")
    if told and told not in ("online", "offline", "disabled", "shared"):
        raise UserError(f"WANDB_MODE={told} in the environment must be online, offline or disabled")
    return mode or told or ("online" if has_api_key() else "offline")


def steps_sent(directory: Path, run_id: str) -> dict[str, int]:
    """The last step of each value that W&B has of a run, by the records of its earlier starts."""
    last: dict[str, int] = {}
    for record in sorted(directory.glob(f"wandb/*run-*/run-{run_id}.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(record)]
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for item in (json.loads(line)["history"]["item"] for line in text.splitlines() if '"type":"history"' in line):
            names = (name.removesuffix("._type") for name in item)  # of a picture or a table
            last |= {name: max(item.get(STEP, -1), last.get(name, -1)) for name in names}
    return last


def earlier_rows(directory: Path) -> list[dict[str, Any]]:
    """What a run that goes on has logged, from its metrics.csv."""
    path = directory / "metrics.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def checkpoint_artifact(directory: Path, checkpoint: str) -> wandb.Artifact:
    """A checkpoint with the configuration that reads it: what it unpacks to is a run directory."""
    about = json.loads((directory / "run.json").read_text())
    artifact = wandb.Artifact(f"checkpoint-{about['id']}", "model", metadata={"run": directory.name})
    artifact.add_file(str(directory / "config.yaml"))
    artifact.add_file(str(directory / "checkpoints" / checkpoint), f"checkpoints/{checkpoint}")
    return artifact


def finish(failed: bool) -> None:
    """Close the W&B run, if there is one, so that the next job of this process gets its own."""
    if wandb.run is not None:
        with contextlib.suppress(ConnectionError):  # Tracker has told of it
            wandb.finish(exit_code=int(failed))


def _pixels(image: Tensor) -> Any:
    return image.permute(1, 2, 0).numpy()

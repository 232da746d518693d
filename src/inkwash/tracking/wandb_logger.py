"""Log a training to Weights & Biases (W&B)."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from inkwash.launch.environment import RankEnv
from inkwash.reports.image_grid import grid
from inkwash.runs.best import best_column, logged_directions, sign_of
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import checkout
from inkwash.tracking import wandb_settings
from inkwash.tracking.lost import until_lost
from inkwash.tracking.pictures import pixels
from inkwash.tracking.wandb_artifact import checkpoint_artifact
from inkwash.tracking.wandb_history import STEP, earlier_rows, steps_sent
from inkwash.tracking.wandb_reach import problem, reachable_mode

log = logging.getLogger(__name__)
FINISH_SECONDS = 600.0  # for what is left to upload at the end; it stays in the run directory


def _process_ended(tracker: "Tracker", error: Exception) -> str | None:
    """Tell the end of W&B's own process, which a scheduler's SIGTERM reaches too, in the middle of a step."""
    return f"W&B          its own process has ended ({error})" if isinstance(error, ConnectionError) else None


while_it_lives = until_lost(_process_ended)


class Tracker(WandbLogger):
    """Logger of the W&B run of a run directory: online if there is an API key and a network, offline otherwise.

    Every row carries the optimizer step, the axis of every plot. W&B cannot drop points, so steps that a resumed run
    repeats are sent once: W&B's own records say which it has. The best values go to the summary as best/NAME, because
    W&B's own minimum begins anew with every start of a run.

    Args:
        directory: the run directory; run.json holds the W&B run's id, so that a resumed run continues the same W&B run.
        entity, project, name, group, job_type, tags, notes: as in W&B. None is W&B's variable (WANDB_PROJECT,
            WANDB_NAME, WANDB_RUN_GROUP, WANDB_TAGS, ...), and without it the project is inkwash, the name the run
            directory's, the group the sweep's, the type train.
        mode: online, offline or disabled; None decides by WANDB_MODE and then by the key.
        sample_table: with every grid, send a table of its images and the classes that were asked for.
        artifacts: at the end, send best.ckpt and last.ckpt, each with config.yaml, as versions `best` and `last` of an
            artifact. Each unpacks to a run directory.
    """

    def __init__(
        self,
        directory: str,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        sample_table: bool = True,
        artifacts: bool = False,
    ):
        self.directory, self.sample_table, self.artifacts = RunDirectory(directory), sample_table, artifacts
        record = self.directory.record
        keep_files_in(self.directory.path)
        if RankEnv.current().rank == 0:
            say_what_is_not_followed()
        super().__init__(
            project=project or wandb_settings.project(),
            entity=entity or wandb_settings.setting("entity"),
            name=name or os.environ.get("WANDB_NAME") or self.directory.path.name,
            id=record["id"],
            save_dir=directory,
            group=group or os.environ.get("WANDB_RUN_GROUP") or record["sweep"],
            job_type=job_type or os.environ.get("WANDB_JOB_TYPE") or "train",
            tags=wandb_settings.tags() if tags is None else tags,
            notes=notes or os.environ.get("WANDB_NOTES"),
            mode=reachable_mode(mode) if RankEnv.current().rank == 0 else "offline",  # only rank 0 has a W&B run
            resume="allow",
            settings=settings_of_a_run(),
        )
        self._wandb_init.pop("anonymous", None)  # WandbLogger always passes it, and W&B warns of it
        self._run_id: str = record["id"]
        self._steps: dict[str, int] = {}  # by value, the last step that W&B has
        self._best: dict[str, float] = {}
        self._directions: dict[str, bool | None] = {"heldout/loss": True}
        self._defined: set[str] = set()
        self.gone = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run: it begins here, offline if the server refuses it, so that no training waits for a dashboard."""
        if self._experiment is None:
            self._steps = steps_sent(self.directory, self._run_id)  # before there is a record of this start
            self._note_best(earlier_rows(self.directory))
            self._experiment = begin(lambda: super(Tracker, self).experiment, self._wandb_init)
        return self._experiment

    @rank_zero_only
    @while_it_lives
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        assert step is not None, "every number here belongs to a step"
        run = self.experiment
        # Repeated steps count too: they have been dropped from metrics.csv.
        scored = self._note_best([metrics])
        new = {name: value for name, value in metrics.items() if step > self._steps.get(name, -1)}
        if not new:
            return
        for name in sorted(new.keys() - self._defined):
            # By name, because W&B applies a pattern to numbers only, not to images and tables.
            run.define_metric(name, step_metric=STEP)
        self._defined |= new.keys()
        super().log_metrics(new, step)
        self._steps |= dict.fromkeys(new, step)
        if scored:
            run.summary.update(self._best)

    def _note_best(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Update the best values; returns whether any value has a best."""
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
        """Send a grid (3, height, width), and a table of its images (n, C, H, W) and labels (n,); all uint8."""
        self.log_picture("samples", sheet, step)
        if labels is not None and self.sample_table:
            rows = sorted(zip(labels.tolist(), range(len(images)), strict=True))
            names = dict(enumerate(self.directory.classes))
            pictures = (wandb.Image(pixels(grid(images[i : i + 1], 1, gap=0))) for _, i in rows)
            data = [[names.get(k, k), i, picture] for (k, i), picture in zip(rows, pictures, strict=True)]
            self.log_table("samples_by_class", ["class", "noise", "image"], data, step=step)

    @rank_zero_only
    @while_it_lives
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Send a picture (3, height, width), uint8."""
        self.log_image(name, [pixels(picture)], step, caption=[f"step {step}"])

    @rank_zero_only
    @while_it_lives
    def finalize(self, status: str) -> None:
        """Send the checkpoints at the end of the training, however it ended."""
        super().finalize(status)
        if not self.artifacts or self._experiment is None:
            return
        for alias in ("best", "last"):  # in this order, because W&B calls the last one `latest`
            if (self.directory.checkpoints.path / f"{alias}.ckpt").exists():
                artifact = checkpoint_artifact(self.directory, f"{alias}.ckpt")
                self.experiment.log_artifact(artifact, aliases=[alias])

    def close(self, failed: bool) -> None:
        """Finish the W&B run, so that the next job of this process gets its own."""
        finish(failed)


def keep_files_in(directory: Path) -> None:
    """Make W&B quiet, and let it store all of its files in a directory."""
    os.environ.setdefault("WANDB_SILENT", "true")
    # Else copies of tables and checkpoints wait for their upload in the home directory.
    os.environ.setdefault("WANDB_DATA_DIR", str((directory / "wandb").resolve()))


# W&B's variables that a run does not follow, and what does the same.
INSTEAD = {
    "WANDB_DIR": "records stay in the run directory, where a resumed run finds them: pass run=NAME to choose it",
    "WANDB_RESUME": "a run continues its own W&B run: pass resume=must, or resume=never for a new one",
}


def say_what_is_not_followed() -> None:
    """Log a line for each variable that W&B's own programs follow and a run here does not."""
    for name, instead in INSTEAD.items():
        if os.environ.get(name):
            log.warning("W&B          %s=%s has no effect: %s", name, os.environ[name], instead)


def settings_of_a_run() -> wandb.Settings:
    """Return W&B's settings for a run that must not lose values nor wait for a network that is gone."""
    settings = wandb.Settings(
        # By default the values of the 15 s before a kill are lost, though a checkpoint may be younger.
        x_transaction_log_flush_interval=0.1,
    )
    if not {"WANDB_DISABLE_GIT", "WANDB_GIT_ROOT", "WANDB_GIT_COMMIT"} & os.environ.keys():
        # By default it is the commit of the folder where the command was started, which may be of another program.
        settings.git_root, settings.disable_git = checkout(), checkout() is None
    if not os.environ.get("WANDB_FINISH_TIMEOUT"):  # by default it waits for ever
        settings.finish_timeout = FINISH_SECONDS
    return settings


def begin(start: Callable[[], Any], arguments: dict[str, Any]) -> Any:
    """Begin a W&B run, offline if the server refuses it: the key is wrong, or there is no such entity.

    Args:
        start: calls wandb.init with the arguments, which are changed for a second call.
    """
    try:
        return start()
    except (wandb.Error, OSError, TimeoutError) as error:
        if arguments["mode"] == "offline":
            raise
        reason = " ".join(str(error).split())[:300]
        log.warning("W&B          the server refuses the run (%s): it is logged offline, for `make sync`", reason)
        arguments["mode"] = "offline"
        wandb.teardown()  # its process holds the id of the run that did not begin
        return start()


def finish(failed: bool) -> None:
    """Close the W&B run, if there is one, so that the next job of this process gets its own."""
    if wandb.run is not None:
        if not (wandb.run.offline or wandb.run.disabled) and (reason := problem()):
            log.warning(
                "W&B          %s cannot be reached any more (%s): upload the rest with: wandb sync %s",
                wandb_settings.server(), reason, Path(wandb.run.dir).parent,
            )  # fmt: skip
        with contextlib.suppress(ConnectionError):  # Tracker has logged it
            wandb.finish(exit_code=int(failed))

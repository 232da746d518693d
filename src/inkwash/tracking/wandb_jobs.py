"""Log evaluations and sampling jobs of a trained run to Weights & Biases (W&B)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from omegaconf import OmegaConf

from inkwash.runs.directory import RunDirectory
from inkwash.tracking import wandb_settings
from inkwash.tracking.wandb_artifact import checkpoint_artifact
from inkwash.tracking.wandb_logger import begin, keep_files_in, settings_of_a_run
from inkwash.tracking.wandb_reach import reachable_mode


class JobTracker:
    """Logs a job of a trained run as a W&B run of its own, which uses the checkpoints as artifacts.

    Args:
        project, entity: None for those of the trained run, else those of W&B's variables.
        tags, notes, mode: as in Tracker.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ):
        self.project, self.entity, self.tags, self.notes, self.mode = project, entity, tags, notes, mode

    def __call__(
        self,
        directory: Path,
        job_type: str,
        config: dict[str, Any],
        trained: Path | None,
        checkpoints: Sequence[str],
        rows: Sequence[dict[str, Any]] = (),
        pictures: Sequence[Path] = (),
    ) -> None:
        """Send the results of a job.

        Args:
            directory: of the job; W&B's offline record goes there.
            job_type: evaluation or sampling.
            config: of the job.
            trained: the run directory whose checkpoints it used; None for images that no run generated.
            checkpoints: the names of their files.
            rows: a table; the first row becomes the summary of the W&B run.
            pictures: image files; those that do not exist are left out.
        """
        of_run = OmegaConf.load(RunDirectory(trained).config_path) if trained else OmegaConf.create()
        record = RunDirectory(trained).record if trained else {}
        keep_files_in(directory)
        arguments: dict[str, Any] = {
            "project": self.project or OmegaConf.select(of_run, "logger.wandb.project") or wandb_settings.project(),
            "entity": self.entity or OmegaConf.select(of_run, "logger.wandb.entity"),
            # A repeated job continues its W&B run.
            "id": "-".join(filter(None, (record.get("id"), directory.name))),
            "name": os.environ.get("WANDB_NAME") or directory.name,
            "group": os.environ.get("WANDB_RUN_GROUP") or record.get("sweep"),
            "job_type": job_type,
            "tags": wandb_settings.tags() if self.tags is None else self.tags,
            "notes": self.notes,
            "config": config,
            "dir": directory,
            "mode": reachable_mode(self.mode),
            "resume": "allow",
            "settings": settings_of_a_run(),
        }
        run = begin(lambda: wandb.init(**arguments), arguments)
        if trained is not None:
            for checkpoint in checkpoints:
                use_artifact(run, checkpoint_artifact(RunDirectory(trained), checkpoint))
        media: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in pictures if path.exists()}
        if rows:
            columns: list[Any] = list(dict.fromkeys(name for row in rows for name in row))
            media["table"] = wandb.Table(columns=columns, data=[[row.get(name) for name in columns] for row in rows])
            run.summary.update(rows[0])
        run.log(media)
        run.finish()


def use_artifact(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Declare that a W&B run used an artifact: a version that W&B has already, or a new one."""
    if run.offline:
        # What use_artifact does online before it waits for the server.
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)

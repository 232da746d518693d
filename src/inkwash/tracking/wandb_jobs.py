"""Weights & Biases, once a run is trained: evaluations and drawings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from omegaconf import OmegaConf

from inkwash.tracking.wandb_logger import checkpoint_artifact, chosen_mode, keep_to


class JobTracker:
    """Shows what was done with a trained run as a W&B run of its own, which uses the checkpoints as artifacts.

    Args:
        project, entity: None for those of the trained run.
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
        """Send the table of rows, whose first one is the summary, and pictures that lie in the directory.

        Args:
            directory: of the job, which keeps the offline record.
            trained: the run directory whose checkpoints it used, None for images of others.
        """
        of_run = OmegaConf.load(trained / "config.yaml") if trained else OmegaConf.create()
        about = json.loads((trained / "run.json").read_text()) if trained else {}
        keep_to(directory)
        run = wandb.init(
            project=self.project or OmegaConf.select(of_run, "logger.wandb.project") or "inkwash",
            entity=self.entity or OmegaConf.select(of_run, "logger.wandb.entity"),
            id="-".join(filter(None, (about.get("id"), directory.name))),  # the same for the same job
            name=directory.name,
            group=about.get("sweep"),
            job_type=job_type,
            tags=self.tags,
            notes=self.notes,
            config=config,
            dir=directory,
            mode=chosen_mode(self.mode),  # pyright: ignore[reportArgumentType]
            resume="allow",
        )
        if trained is not None:
            for checkpoint in checkpoints:
                use_artifact(run, checkpoint_artifact(trained, checkpoint))
        shown: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in pictures if path.exists()}
        if rows:
            columns: list[Any] = list(dict.fromkeys(name for row in rows for name in row))
            shown["table"] = wandb.Table(columns=columns, data=[[row.get(name) for name in columns] for row in rows])
            run.summary.update(rows[0])
        run.log(shown)
        run.finish()


def use_artifact(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Have W&B know that the run made use of files, which are a version that it has already or become one."""
    if run.offline:
        # What use_artifact does online, where it then waits for the server.
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)

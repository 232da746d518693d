"""Save checkpoints: the newest states to resume from, and the weights of the best score."""

from pathlib import Path
from typing import Any

import lightning as L

from inkwash.errors import UserError
from inkwash.runs.best import check_mode, main_metric, sign_of
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.fsdp import whole
from inkwash.training.module import DiffusionModule


def sound(module: DiffusionModule) -> bool:
    """Return whether all weights are finite: a sound file is never replaced by a ruined one."""
    return all(bool(parameter.isfinite().all()) for parameter in whole(module.denoiser.parameters()))


def save(trainer: L.Trainer, path: Path) -> None:
    """Write a checkpoint, and make the configuration it was trained with the run's config.yaml."""
    trainer.save_checkpoint(path)
    if trainer.is_global_zero:
        run_directory(trainer).accept_next_config()


class ResumeCheckpoint(Periodic):
    """Saves checkpoints/step-<step>.ckpt and deletes old ones; last.ckpt is another name of the newest.

    A resume passes over a damaged file and takes the one before it (training/resume.py).

    Args:
        every_n_steps: the cadence; a checkpoint is also saved at the end, and at a signal.
        keep: number of files.
    """

    def __init__(self, every_n_steps: int = 500, keep: int = 2):
        super().__init__(every_n_steps)
        if keep < 1:
            raise UserError(f"callbacks.checkpoint.keep={keep} must be at least 1")
        self.keep = keep

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if not sound(module):
            return
        checkpoints, step = run_directory(trainer).checkpoints, trainer.global_step
        path = checkpoints.of_step(step)
        save(trainer, path)
        if trainer.is_global_zero:
            checkpoints.point_last(path)
            checkpoints.prune(self.keep, step)

    def save_now(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        """Save this step, unless it is saved already."""
        if trainer.global_step != self._ran:
            self._run(trainer, module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        checkpoint["images"] = data.train.fingerprint
        checkpoint["layout"] = {
            "processes": trainer.world_size,
            "micro_batches": trainer.accumulate_grad_batches,
        }


class BestCheckpoint(Periodic):
    """Saves checkpoints/best.ckpt, the weights of the best value of a metric.

    Args:
        monitor: name of the metric, or its beginning; None for the first that has a best (the Frechet distance).
        mode: `min` or `max`; None for the metric's own direction.
    """

    def __init__(self, monitor: str | None = None, mode: str | None = None):
        super().__init__(every_n_steps=1)
        check_mode("callbacks.best.mode", mode)
        self.monitor, self.mode = monitor, mode
        self.name: str | None = None
        self.best: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        names = pl_module.lower_is_better
        if names and main_metric(names, self.monitor) is None:
            raise UserError(f"callbacks.best.monitor={self.monitor} is not one of the metrics {', '.join(names)}")

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if module.scores_step != trainer.global_step:
            return
        name = main_metric(module.lower_is_better, self.monitor)
        if name is None or name not in module.scores:
            return  # another metric's turn
        score, sign = module.scores[name], sign_of(module.lower_is_better[name], self.mode)
        # A resumed run may measure something else: the values of two metrics do not compare.
        if name != self.name or self.best is None or sign * score < sign * self.best:
            self.name, self.best = name, score
            if sound(module):
                save(trainer, run_directory(trainer).checkpoints.best)

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.name, self.best = state_dict.get("name"), state_dict["best"]

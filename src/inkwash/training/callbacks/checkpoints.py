"""Two files apart: the newest state, to resume from, and the best one, to keep."""

from typing import Any

import lightning as L

from inkwash.errors import UserError
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.module import DiffusionModule


def save(trainer: L.Trainer, module: DiffusionModule, name: str) -> None:
    """Write checkpoints/<name> unless the weights are no longer numbers: a good file is never replaced by a bad one."""
    if all(bool(parameter.isfinite().all()) for parameter in module.denoiser.parameters()):
        trainer.save_checkpoint(run_directory(trainer) / "checkpoints" / name)


class ResumeCheckpoint(Periodic):
    """checkpoints/last.ckpt: always the newest, and written at the end."""

    def __init__(self, every_n_steps: int = 500):
        super().__init__(every_n_steps)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        save(trainer, module, "last.ckpt")


class BestCheckpoint(Periodic):
    """checkpoints/best.ckpt: the weights that were measured when a metric was at its best.

    Args:
        monitor: name of the metric, or how it begins; None for the first that is measured (the Frechet distance).
        mode: `min` or `max`.
    """

    def __init__(self, monitor: str | None = None, mode: str = "min"):
        super().__init__(every_n_steps=1)
        if mode not in ("min", "max"):
            raise UserError(f"callbacks.best.mode={mode} must be min or max")
        self.monitor = monitor
        self.sign = 1 if mode == "min" else -1
        self.best: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        names = pl_module.score_names
        if names and not any(name.startswith(self.monitor or "") for name in names):
            raise UserError(f"callbacks.best.monitor={self.monitor} is none of the metrics {', '.join(names)}")

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if module.scores_step != trainer.global_step:
            return
        score = next(score for name, score in module.scores.items() if name.startswith(self.monitor or ""))
        if self.best is None or self.sign * score < self.sign * self.best:
            self.best = score
            save(trainer, module, "best.ckpt")

    def state_dict(self) -> dict[str, float | None]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        self.best = state_dict["best"]

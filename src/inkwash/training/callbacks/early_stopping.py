"""Stop when a metric has stopped getting better."""

import logging

import lightning as L

from inkwash.errors import UserError
from inkwash.training.callbacks.periodic import Periodic
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


class EarlyStopping(Periodic):
    """Ends training after `patience` measurements in a row that were no better than the best.

    Args:
        monitor: the metric's name; None for the first that is measured.
        patience: how many.
        mode: min or max.
        min_delta: how much better is better.
    """

    def __init__(self, monitor: str | None = None, patience: int = 5, mode: str = "min", min_delta: float = 0.0):
        super().__init__(1)
        if patience < 1 or min_delta < 0 or mode not in ("min", "max"):
            raise UserError(
                f"callbacks.early_stopping: patience={patience} must be at least 1, min_delta={min_delta} at least 0 "
                f"and mode={mode} min or max"
            )
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = 1 if mode == "min" else -1
        self.best, self.waited, self.step = float("inf"), 0, -1

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "waited": self.waited, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.waited, self.step = state_dict["best"], int(state_dict["waited"]), int(state_dict["step"])

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if module.scores_step == self.step:
            return
        name = self.monitor or next(iter(module.score_names), None)
        if name is None or name not in module.score_names:
            measured = ", ".join(module.score_names) or "nothing"
            raise UserError(f"callbacks.early_stopping.monitor={name} is never measured; this run measures {measured}")
        if name not in module.scores:
            return
        self.step, score = module.scores_step, self.sign * module.scores[name]
        if score < self.best - self.min_delta:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            log.info(
                "stopping at step %d: %s was no better than %.4g in %d measurements",
                trainer.global_step, name, self.sign * self.best, self.waited,
            )  # fmt: skip
            trainer.should_stop = True  # every rank has the same scores

"""Stop the training when a metric no longer improves."""

import logging

import lightning as L

from inkwash.errors import UserError
from inkwash.runs.best import check_mode, main_metric, sign_of
from inkwash.training.callbacks.periodic import Periodic
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


class EarlyStopping(Periodic):
    """Ends training after `patience` measurements in a row that did not improve on the best.

    Args:
        monitor: the metric's name, or its beginning; None for the first that has a best.
        patience: number of measurements.
        mode: min or max; None for the metric's own direction.
        min_delta: least difference that counts as an improvement.
    """

    def __init__(self, monitor: str | None = None, patience: int = 5, mode: str | None = None, min_delta: float = 0.0):
        super().__init__(1)
        check_mode("callbacks.early_stopping.mode", mode)
        if patience < 1 or min_delta < 0:
            raise UserError(
                f"callbacks.early_stopping: patience={patience} must be at least 1 and min_delta={min_delta} at least 0"
            )
        self.monitor, self.patience, self.mode, self.min_delta = monitor, patience, mode, min_delta
        self.best, self.waited, self.step = float("inf"), 0, -1

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "waited": self.waited, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.waited, self.step = state_dict["best"], int(state_dict["waited"]), int(state_dict["step"])

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if module.scores_step == self.step:
            return
        name = main_metric(module.lower_is_better, self.monitor)
        if name is None:
            measured = ", ".join(module.lower_is_better) or "nothing"
            raise UserError(
                f"callbacks.early_stopping.monitor={self.monitor} is never measured; this run measures {measured}"
            )
        if name not in module.scores:
            return
        sign = sign_of(module.lower_is_better[name], self.mode)
        self.step, score = module.scores_step, sign * module.scores[name]
        if score < self.best - self.min_delta:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            log.info(
                "stopping at step %d: %s was no better than %.4g in %d measurements",
                trainer.global_step, name, sign * self.best, self.waited,
            )  # fmt: skip
            trainer.should_stop = True  # every rank has the same scores

"""Prune a trial of an Optuna study: end its training early if its values are worse than those of other trials."""

import logging
from typing import Any

import lightning as L

from inkwash.errors import UserError
from inkwash.runs.best import main_metric
from inkwash.sweeps.trial import open_trial, read_trial, write_trial
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


class Pruning(Periodic):
    """Reports every value of the sweep's metric to its study, and ends the training when the pruner says so.

    Rank 0 reports and asks; all ranks stop after the same step. In a run that is not a trial this does nothing.

    Args:
        pruner: one of optuna.pruners.
    """

    def __init__(self, pruner: Any):
        super().__init__(every_n_steps=1)
        self.pruner = pruner
        self.trial: dict[str, Any] | None = None  # trial.json
        self.reported = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.trial = read_trial(run_directory(trainer))
        if self.trial is None:
            log.info("no pruning:  this run is not a trial of an Optuna study (sweeper=optuna)")

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if self.trial is None or module.scores_step == self.reported:
            return
        name = main_metric(module.lower_is_better, self.trial["metric"])
        if name is None:
            raise UserError(
                f"hydra.sweeper.metric={self.trial['metric']} is never measured while training, which measures "
                f"{', '.join(module.lower_is_better) or 'nothing'}"
            )
        if name not in module.scores:
            return  # another metric's turn
        self.reported = module.scores_step
        stop = trainer.is_global_zero and self._ask(trainer, module, name)
        if trainer.strategy.broadcast(stop):
            log.info("pruned       at step %d: %s %.4g", trainer.global_step, name, module.scores[name])
            trainer.should_stop = True

    def _ask(self, trainer: L.Trainer, module: DiffusionModule, name: str) -> bool:
        """Report the metric to the study; returns whether to stop."""
        assert self.trial is not None
        trial, step = open_trial(self.trial, self.pruner), trainer.global_step
        if (
            step not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        ):  # else a step from before a resume
            trial.report(module.scores[name], step)
        # The last step ends the training anyway, and as a whole trial.
        if step == trainer.max_steps or not trial.should_prune():
            return False
        write_trial(run_directory(trainer), {**self.trial, "pruned": step, "value": module.scores[name]})
        return True

"""Begin the run of every logger after the first step, not before."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L


class BeginLogging(L.Callback):
    """Hands the trainer its loggers, and them the configuration once a step has been made.

    Lightning begins the run of each logger it knows before anything else is set up. A training that fails before its
    first step would leave a run on a server; and the first step would wait for the server.

    Args:
        loggers: none of which the trainer has yet.
        params: the configuration and what is known of the run.
    """

    def __init__(self, loggers: Sequence[Any], params: Mapping[str, Any]):
        self.loggers, self.params = list(loggers), params
        self._begun = False

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        trainer.loggers = self.loggers

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._begun or trainer.global_step == 0:
            return
        for logger in self.loggers:
            logger.log_hyperparams(self.params)
        self._begun = True

"""What happens every so many optimizer steps, whatever the data set's length."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from inkwash.errors import UserError
from inkwash.training.module import DiffusionModule


class Periodic(L.Callback, ABC):
    """Runs on every rank after every `every_n_steps`-th optimizer step and after the last.

    Args:
        every_n_steps: the cadence; None for only at the end.
    """

    pauses_training = True

    def __init__(self, every_n_steps: int | None):
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"every_n_steps={every_n_steps} must be at least 1, or null for only at the end")
        self.every_n_steps = every_n_steps
        self._seen = self._ran = 0

    @abstractmethod
    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None: ...

    def due(self, trainer: L.Trainer) -> bool:
        step = trainer.global_step
        return step == trainer.max_steps or (self.every_n_steps is not None and step % self.every_n_steps == 0)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._seen = self._ran = trainer.global_step

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        """Look at what training_step returned, after every micro-batch; must not wait for the device."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.observe(trainer, pl_module, outputs)
        # The hook runs after every micro-batch; only one of them ends an optimizer step.
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        if self.due(trainer):
            self._run(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Something else than max_steps ended the training, a time limit for example.
        if trainer.global_step != self._ran:
            self._run(trainer, pl_module)

    def _run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        start = time.perf_counter()
        self.run(trainer, module)
        self._ran = trainer.global_step
        if self.pauses_training:
            module.paused_seconds += time.perf_counter() - start


def log_metrics(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Send metrics to every logger with the optimizer step as the axis."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)


def run_directory(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir)

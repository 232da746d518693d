"""Base classes of callbacks that run every so many optimizer steps."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.training.callbacks.progress import Progress
from inkwash.training.module import DiffusionModule


class Periodic(L.Callback, ABC):
    """Callback that runs on every rank after every `every_n_steps`-th optimizer step and after the last.

    Args:
        every_n_steps: the cadence; None for only at the end.

    Attributes:
        pauses_training: whether the time of `run` is left out of the training's images per second.
        activity: what the progress line says meanwhile; None if that takes no time.
    """

    pauses_training = True
    activity: str | None = None

    def __init__(self, every_n_steps: int | None):
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"every_n_steps={every_n_steps} must be at least 1, or null for only at the end")
        self.every_n_steps = every_n_steps
        self._seen = self._ran = 0

    @abstractmethod
    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        """Do what is due after this step."""

    def due(self, trainer: L.Trainer) -> bool:
        """Return whether to run after this step."""
        step = trainer.global_step
        return step == trainer.max_steps or (self.every_n_steps is not None and step % self.every_n_steps == 0)

    def ran_at(self, step: int) -> bool:
        """Return whether it has run after this step, of this process."""
        return self._ran == step > 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._seen = self._ran = trainer.global_step

    def observe(self, trainer: L.Trainer, module: DiffusionModule, outputs: dict[str, Tensor]) -> None:
        """Take note of the outputs of training_step, after every micro-batch; must not wait for the device."""

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
        with showing(trainer, self.activity):
            self.run(trainer, module)
        self._ran = trainer.global_step
        if self.pauses_training:
            module.paused_seconds += time.perf_counter() - start


class Summing(Periodic):
    """Periodic callback that adds up its observations between two runs.

    Checkpoints hold the sums of every rank, so that a resumed run logs what an uninterrupted one logs.

    Attributes:
        sums: this rank's, of a shape that the subclass chooses; its `run` sets them back to 0.
    """

    def __init__(self, every_n_steps: int | None, *shape: int, dtype: torch.dtype = torch.float32):
        super().__init__(every_n_steps)
        self.sums = torch.zeros(shape, dtype=dtype)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.sums = self.sums.to(pl_module.device)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        rows = torch.zeros(trainer.world_size, *self.sums.shape, dtype=self.sums.dtype, device=self.sums.device)
        rows[trainer.global_rank] = self.sums
        # Each rank fills its own row and leaves zeros elsewhere, so the sum gathers the rows.
        rows = trainer.strategy.reduce(rows, reduce_op="sum")
        checkpoint.setdefault("sums", {})[self._key()] = rows.cpu()  # pyright: ignore[reportAttributeAccessIssue]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        sums = checkpoint.get("sums", {}).get(self._key())
        if sums is None or sums.shape[1:] != self.sums.shape:
            return
        if len(sums) == trainer.world_size:
            self.sums = sums[trainer.global_rank]
        elif trainer.is_global_zero:  # of another number of ranks: rank 0 takes the total
            self.sums = sums.sum(dim=0)

    def _key(self) -> str:
        return f"{type(self).__name__}-{self.every_n_steps}"


@contextmanager
def showing(trainer: L.Trainer, activity: str | None, once: bool = False) -> Iterator[None]:
    """Have the progress line say what is done while the body runs; None: it stays as it is.

    Args:
        once: the body runs once in a training, so that its time says nothing of the time left.
    """
    start = time.perf_counter()
    lines: list[Any] = []
    if activity is not None:
        callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        lines = [callback for callback in callbacks if isinstance(callback, Progress)]
    for line in lines:
        line.show_activity(activity)
    yield
    for line in lines:
        if once:
            line.leave_out(time.perf_counter() - start)
        line.show_activity(None)


def log_metrics(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Send metrics to every logger with the optimizer step as the axis."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)


def run_directory(trainer: L.Trainer) -> RunDirectory:
    """Return the directory of the run that a trainer trains."""
    return RunDirectory(trainer.default_root_dir)

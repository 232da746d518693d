"""Stop the training when the time of trainer.options.max_time is over."""

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer

log = logging.getLogger(__name__)


class TimeLimit(Timer):
    """Lightning's Timer, of one start of the training: a resume has as long again.

    Lightning's own counts all starts together, so that a run that it has stopped would make no step any more.

    Args:
        max_time: DD:HH:MM:SS, or a mapping such as {hours: 2}.
    """

    def __init__(self, max_time: str | dict[str, int]):
        super().__init__(max_time, verbose=False)
        self.max_time = max_time

    @property
    def state_key(self) -> str:
        """Lightning's name: it would miss the callback of the checkpoints that have a time of its Timer."""
        return "Timer"

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        left = self.time_remaining()
        if left is not None and left <= 0 and trainer.global_step < trainer.max_steps:
            log.info(
                "stopped      at step %d of %d: trainer.options.max_time=%s is over; the same command goes on, for as "
                "long again",
                trainer.global_step, trainer.max_steps, self.max_time,
            )  # fmt: skip

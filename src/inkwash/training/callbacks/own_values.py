"""Send the values that callbacks give to `self.log` to every logger."""

from typing import Any

import lightning as L

from inkwash.training.callbacks.periodic import Periodic, log_metrics
from inkwash.training.module import DiffusionModule


class OwnValues(Periodic):
    """Logs what `self.log(name, value)` was given, at the optimizer step that it was given in.

    A value of every step is logged each trainer.options.log_every_n_steps steps (50), one that comes now and then each
    time. Lightning itself would count steps by one less than our rows, and lose what falls between its own steps.
    """

    pauses_training = False

    def __init__(self):
        super().__init__(every_n_steps=1)
        self._last: dict[str, int] = {}  # by name, the step of the latest value

    def state_dict(self) -> dict[str, Any]:
        return {"last": self._last} if self._last else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last = dict(state_dict["last"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        start = trainer.global_step
        # A checkpoint may be saved before the values of its step have come: a value of every step stays one.
        self._last = {name: start if last >= start - 1 else last for name, last in self._last.items()}

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.run(trainer, pl_module)  # values of on_train_epoch_end, too

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        values, module.own_values = module.own_values, {}
        step, every = trainer.global_step, trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        whole = bool(every) and step % every == 0
        due = [name for name in values if whole or step - self._last.get(name, -1) > 1]
        self._last |= dict.fromkeys(values, step)
        if due:
            log_metrics(trainer, {name: float(values[name]) for name in due})

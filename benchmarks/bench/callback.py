"""The gate in a training of Inkwash: `inkwash train +callbacks.gate._target_=bench.callback.GateCallback`."""

from typing import Any

import lightning as L

from bench.gate import Gate


class GateCallback(L.Callback):
    """Calls the gate before each step, on rank 0; the other ranks wait for its gradients."""

    def __init__(self) -> None:
        self.gate: Gate | None = None

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.is_global_zero:
            self.gate = self.gate or Gate()
            self.gate()

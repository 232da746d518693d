"""Store averages of the weights while a run trains, for others of any length afterwards."""

import json
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from safetensors.torch import save_file

from inkwash.errors import UserError
from inkwash.files import replacing
from inkwash.runs.averages import files_by_step
from inkwash.training.callbacks.checkpoints import sound
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.ema import PowerDecay
from inkwash.training.module import DiffusionModule

DTYPES = {"float16": torch.float16, "float32": torch.float32}


class Snapshots(Periodic):
    """Writes snapshots/step-<step>.safetensors: the parameters of some averages after as many updates.

    Which files are kept is a function of the step alone, so that a run that was interrupted has those of one that was
    not: when there are more than `keep`, only every second, fourth, ... of the cadence stays, and the newest.

    Args:
        every_n_steps: the cadence; a snapshot is also taken at the end.
        names: of the averages, whose decays must be power functions; two lengths serve best (Karras et al. 2024).
        keep: greatest number of files, without the newest; None for all.
        dtype: float16 as in the paper, or float32. bfloat16 has too few bits for the difference of two averages.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        every_n_steps: int,
        names: Sequence[str] = ("short", "long"),
        keep: int | None = 32,
        dtype: str = "float16",
    ):
        super().__init__(every_n_steps)
        if keep is not None and keep < 2:
            raise UserError(f"callbacks.snapshots.keep={keep} must be at least 2, or null for all")
        if dtype not in DTYPES:
            raise UserError(f"callbacks.snapshots.dtype={dtype} must be float16 or float32")
        if not names:
            raise UserError("callbacks.snapshots.names=[] stores nothing: list names of averages")
        self.names, self.keep, self.dtype = list(names), keep, DTYPES[dtype]
        self.exponents: dict[str, float] = {}
        self._before: dict[str, float] | None = None  # those of the checkpoint that is resumed

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Check that the averages are power functions, before a failure costs anything."""
        for name in self.names:
            decay = pl_module.decays.get(name)
            if not isinstance(decay, PowerDecay):
                found = "there is no such average" if decay is None else f"its decay is a {type(decay).__name__}"
                raise UserError(
                    f"callbacks.snapshots.names has {name}, and {found}: lengths can be made of "
                    "inkwash.training.ema.PowerDecay only"
                )
            self.exponents[name] = decay.exponent

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.global_step > 0 and self._before != self.exponents:
            was = "no snapshots" if self._before is None else f"snapshots of {self._before}"
            raise UserError(
                f"this run has {was} so far, and averages of {self.exponents} would begin in the middle: leave "
                "callbacks and averages as they were, or choose another run=NAME"
            )
        if trainer.is_global_zero:
            for step, path in files_by_step(run_directory(trainer).snapshots).items():
                if step > trainer.global_step:  # it is done again, or of a run that was given up
                    path.unlink()

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if not sound(module) or not trainer.is_global_zero:
            return
        folder, step = run_directory(trainer).snapshots, trainer.global_step
        folder.mkdir(exist_ok=True)
        tensors = {
            f"{name}.{key}": parameter.detach().to("cpu", self.dtype).contiguous()
            for name in self.names
            for key, parameter in module.weights_of(name).named_parameters()
        }
        metadata = {"format": "pt", "step": str(step), "exponents": json.dumps(self.exponents)}
        with replacing(folder / f"step-{step:08d}.safetensors") as partial:
            save_file(tensors, partial, metadata)
        for earlier, path in files_by_step(folder).items():
            if earlier != step and earlier % self._spacing(step):
                path.unlink()

    def _spacing(self, step: int) -> int:
        """Return the steps between two snapshots that stay at a step: the cadence, doubled until `keep` are enough."""
        spacing = self.every_n_steps or step
        while self.keep is not None and step // spacing > self.keep:
            spacing *= 2
        return spacing

    def state_dict(self) -> dict[str, Any]:
        return {"exponents": self.exponents}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["exponents"]

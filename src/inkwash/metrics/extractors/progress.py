"""Progress of a short training: lines in the log, and a file from which an interrupted one goes on."""

import copy
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inkwash.files import replacing

log = logging.getLogger(__name__)

SECONDS = 5.0  # between two lines, and two files


class Progress:
    """Step counter of a training that starts where an interrupted one has left its state, if it fits.

    Args:
        path: the file of the state.
        title: of what is trained, for the log.
        steps: number of steps in all.
        network, optimizer, schedule, draws: what is stored and restored.

    Attributes:
        step: number of steps done.
    """

    def __init__(
        self,
        path: Path,
        title: str,
        steps: int,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Any,
        draws: torch.Generator,
    ):
        self.path, self.title, self.steps, self.draws, self.step = path, title, steps, draws, 0
        self.parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
        if path.exists():
            self._restore()
        went_on = f", from step {self.step} on" if self.step else ""
        log.info("training %s once for this data set, %d steps on one CPU thread%s", title, steps, went_on)
        self.start = self.last = time.monotonic()
        self.first = self.step

    def advance(self) -> None:
        """Count a step; now and then log how far it is and store the state."""
        self.step += 1
        now = time.monotonic()
        if now - self.last < SECONDS or self.step == self.steps:
            return
        self.last = now
        left = (now - self.start) * (self.steps - self.step) / (self.step - self.first)
        log.info("training %s: step %d of %d, %.0f s left", self.title, self.step, self.steps, left)
        with replacing(self.path) as partial, open(partial, "wb") as file:
            torch.save(self._state(), file)

    def _state(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        return {"step": self.step, "draws": self.draws.get_state(), **parts}

    def _restore(self) -> None:
        fresh = copy.deepcopy(self._state())
        try:
            self._load(torch.load(self.path, weights_only=True))
        except Exception as error:  # damaged, or of another version: it only costs time
            log.info("%s cannot be read (%s): starting again", self.path, type(error).__name__)
            self._load(fresh)

    def _load(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.draws.set_state(state["draws"])
        self.step = state["step"]

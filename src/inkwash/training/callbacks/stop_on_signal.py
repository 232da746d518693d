"""Stop the training at a signal: after the current step, with a checkpoint.

The process exits with 128 + the signal's number, as in a shell: 130 after SIGINT (Ctrl-C), 143 after SIGTERM, 138 and
140 after SIGUSR1 and SIGUSR2 (which schedulers send before they preempt). A second signal, at least one second later,
ends it at once, unless torchrun or srun has started the process; so does the end of GRACE_SECONDS, if a step takes too
long.
"""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor

from inkwash.launch.signals import SIGNALS
from inkwash.training.callbacks.checkpoints import ResumeCheckpoint

log = logging.getLogger(__name__)

# Less than the grace periods of torchrun and of our launcher, which then send SIGKILL.
GRACE_SECONDS = 25


@contextmanager
def interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Have signals end the process at once while the body runs: for what takes long before there is much to save."""
    callbacks: Any = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    with ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, StopOnSignal):
                stack.enter_context(callback.suspended())
        yield


class Stopped(SystemExit):
    """Exit of a training that was stopped by a signal, and saved."""


class Greatest:
    """Finds the greatest number of any rank. All ranks call it together.

    On GPUs it tells that of the call before, 0 at first: this one's is still behind all that the GPU has to do.
    """

    def __init__(self, device: torch.device):
        self.device, self.late = device, device.type == "cuda"
        self._before: tuple[Tensor, Any] | None = None

    def __call__(self, number: int) -> int:
        own = torch.full((), number, device=self.device)
        dist.all_reduce(own, dist.ReduceOp.MAX)
        if not self.late:
            return int(own)
        before, self._before = self._before, self._copied(own)
        if before is None:
            return 0
        copy, event = before
        event.synchronize()
        return int(copy)

    def _copied(self, number: Tensor) -> tuple[Tensor, Any]:
        """Return a number on the CPU, and the event from which on it is there."""
        copy, event = torch.empty((), dtype=number.dtype, pin_memory=True), torch.cuda.Event()
        copy.copy_(number, non_blocking=True)
        event.record()
        return copy, event


class StopOnSignal(L.Callback):
    """Saves and stops after the step in which any rank received a signal; all ranks after the same step.

    With several GPUs it is the step after that one (Greatest).

    Lightning's own signal handler waits for the other ranks inside the handler, and can wait for ever. This must be the
    last callback, so that all that is due after the step is done before the checkpoint is saved.
    """

    def __init__(self):
        self.received = 0
        self._seen = 0
        self._before: dict[int, Any] = {}
        self._greatest: Greatest | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Install the handlers. Before this there is nothing to save, and signals do what they always do."""
        self._seen = trainer.global_step
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        self._before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        number = self.received
        if trainer.world_size > 1:
            self._greatest = self._greatest or Greatest(trainer.strategy.root_device)
            number = self._greatest(number)
        if number:
            self._stop(trainer, pl_module, signal.Signals(number))

    def restore(self) -> None:
        """Restore the previous handlers, except after a scheduler's signal, which may be repeated until the end."""
        signal.alarm(0)  # first: without a handler an alarm would end the process
        if not (self.received and "INKWASH_TOLD" in os.environ):
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Have signals end the process at once while the body runs, as before the training, unless one is here."""
        handlers = {} if self.received else {number: signal.getsignal(number) for number in self._before}
        for number in handlers:
            signal.signal(number, self._before[number])
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _stop(self, trainer: L.Trainer, module: Any, number: signal.Signals) -> None:
        savers = [c for c in trainer.callbacks if isinstance(c, ResumeCheckpoint)]  # pyright: ignore[reportAttributeAccessIssue]
        for saver in savers:
            saver.save_now(trainer, module)
        state = "saved; the same command goes on from there" if savers else "not saved, without callbacks.checkpoint"
        log.info("%s      stopped after step %d, %s", number.name, trainer.global_step, state)
        raise Stopped(128 + number)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        # A signal to a whole group of processes reaches each of them several times. Schedulers also repeat it, and use
        # SIGKILL in the end.
        if "INKWASH_TOLD" in os.environ:
            self._answer(signal.SIG_IGN, signal.SIG_DFL, GRACE_SECONDS)
        else:
            self._answer(signal.SIG_IGN, self._insist, 1)

    def _insist(self, number: int, frame: Any) -> None:
        self._answer(signal.SIG_DFL, signal.SIG_DFL, GRACE_SECONDS - 1)

    def _answer(self, handler: Any, at_alarm: Any, seconds: int) -> None:
        for number in SIGNALS:
            signal.signal(number, handler)
        signal.signal(signal.SIGALRM, at_alarm)
        signal.alarm(seconds)

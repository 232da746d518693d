"""Callbacks that end a run, fill or slow its disk, or spoil its numbers, at a chosen moment."""

import io
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch

from inkwash.checkpoints import io as checkpoint_io
from inkwash.data.images import Images
from inkwash.runs.checkpoint_files import CheckpointFolder
from inkwash.training.callbacks import stop_on_signal


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Patched(L.Callback):
    """Call `at(moment)` at every moment of the writing of a checkpoint; the patches are undone when the fit ends."""

    def on_train_start(self, trainer, module):
        self.trainer = trainer
        self.before = (
            checkpoint_io.torch.save,
            os.fsync,
            os.replace,
            CheckpointFolder.point_last,
            CheckpointFolder.prune,
        )
        save, fsync, replace, point_last, prune = self.before

        def in_halves(content, file):
            whole = io.BytesIO()
            save(content, whole)
            half = len(whole.getvalue()) // 2
            file.write(whole.getvalue()[:half])
            file.flush()
            self.at("half")
            file.write(whole.getvalue()[half:])

        checkpoint_io.torch.save = in_halves
        os.fsync = self.wrapped("written", fsync)
        os.replace = self.wrapped("synced", replace)
        CheckpointFolder.point_last = self.wrapped("renamed", point_last)
        CheckpointFolder.prune = self.wrapped("linked", prune)

    def on_exception(self, trainer, module, exception):
        self.teardown(trainer, module, "fit")

    def teardown(self, trainer, module, stage):
        checkpoint_io.torch.save, os.fsync, os.replace, CheckpointFolder.point_last, CheckpointFolder.prune = (
            self.before
        )

    def wrapped(self, moment, function):
        def call(*arguments):
            # Other files are written too: images, rows.
            if moment in ("renamed", "linked") or isinstance(arguments[0], int) or "ckpt" in str(arguments[0]):
                self.at(moment)
            return function(*arguments)

        return call

    def at(self, moment): ...


class DeathAt(Patched):
    """Send SIGKILL while a step's checkpoint is half, written, synced, renamed or linked."""

    def __init__(self, moment: str, step: int):
        self.moment, self.step = moment, step

    def at(self, moment):
        if moment == self.moment and self.trainer.global_step == self.step:
            die()


class SlowDisk(Patched):
    """Make every moment of the writing of a checkpoint, and every step, take some seconds."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def at(self, moment):
        time.sleep(self.seconds)

    def on_train_batch_end(self, *args):
        time.sleep(self.seconds)


class FullDisk(Patched):
    """Raise ENOSPC halfway through the checkpoint of a step."""

    def __init__(self, step: int):
        self.step = step

    def at(self, moment):
        if moment == "half" and self.trainer.global_step == self.step:
            raise OSError(28, "No space left on device")


class Signal(L.Callback):
    """Send a signal to one rank within a step, and again `again_after` seconds later."""

    def __init__(self, number: int, step: int, rank: int = 0, again_after: float | None = None):
        self.number, self.step, self.rank, self.again_after = number, step, rank, again_after

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)
            if self.again_after is not None:
                time.sleep(self.again_after)
                os.kill(os.getpid(), self.number)


class Stuck(L.Callback):
    """Make a step never end, with a shorter grace period."""

    def __init__(self, step: int, grace: int):
        self.step = step
        stop_on_signal.GRACE_SECONDS = grace

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            Path(trainer.default_root_dir, "stuck").touch()
            while True:
                time.sleep(0.1)


class Infinite(L.Callback):
    """Put an infinity into the gradients of some steps."""

    def __init__(self, steps: list, rank: int = 0):
        self.steps, self.rank = steps, rank

    def on_after_backward(self, trainer, module):
        if trainer.global_step in self.steps and trainer.global_rank == self.rank:
            next(p for p in module.parameters() if p.grad is not None).grad.view(-1)[0] = torch.inf


class NanImage(L.Callback):
    """Put NaN into one image of a step's batch."""

    def __init__(self, step: int, rank: int = 0):
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        first = batch_idx % trainer.accumulate_grad_batches == 0
        if first and trainer.global_step == self.step and trainer.global_rank == self.rank:
            batch[0][0] = torch.nan


class Blank:
    """Source of grey images."""

    def load(self, split, shape, path):
        return Images(torch.full((60, *shape), 128, dtype=torch.uint8), torch.arange(60) % 10)


class Frozen(L.Callback):
    """Exclude a parameter from training."""

    def __init__(self, name: str):
        self.name = name

    def on_fit_start(self, trainer, module):
        module.get_parameter(self.name).requires_grad_(False)


class StillAverage(L.Callback):
    """Keep the average of the weights constant."""

    def on_fit_start(self, trainer, module):
        module.decay = lambda n: 1.0


class Exhausted(L.Callback):
    """Raise what PyTorch, Python or the system raise without memory or disk space."""

    TEXTS: ClassVar = {
        "torch.OutOfMemoryError": "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...",
        "MemoryError": "Unable to allocate 8. GiB",
        "RuntimeError": "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)",
    }

    def __init__(self, kind: str):
        self.kind = kind

    def on_train_batch_start(self, *args):
        if self.kind == "OSError":
            raise OSError(28, "No space left on device", "runs/x/metrics.csv")
        kinds = {"torch.OutOfMemoryError": torch.OutOfMemoryError, "MemoryError": MemoryError}
        raise kinds.get(self.kind, RuntimeError)(self.TEXTS[self.kind])


class Scores(L.Callback):
    """Set a metric once."""

    def __init__(self, name: str, step: int, score: float):
        self.name, self.step, self.score = name, step, score

    def on_fit_start(self, trainer, module):
        module.lower_is_better[self.name] = True

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step == self.step:
            module.scores, module.scores_step = {self.name: self.score}, self.step


class NoRoom(L.Callback):
    """Raise OutOfMemoryError for a forward pass of more than `images` images, in one rank or in all."""

    def __init__(self, images: int, rank: int | None = None):
        self.images, self.rank = images, rank

    def setup(self, trainer, module, stage):
        if self.rank in (None, trainer.global_rank):
            module.denoiser.net.register_forward_pre_hook(self.refuse)

    def refuse(self, net, inputs):
        if len(inputs[0]) > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

"""How many images at a time the memory takes: a global batch that does not fit is trained on in smaller parts."""

import gc
import itertools
import logging
import math
import mmap
from typing import Any

import lightning as L
import torch

from inkwash.errors import UserError
from inkwash.random import Draws, generator

log = logging.getLogger(__name__)


class Reserve:
    """Address space, of no memory, that is given back when memory runs out: to find out what would fit takes some."""

    BYTES = 1 << 26

    def __init__(self):
        self.space = mmap.mmap(-1, self.BYTES)

    def give_back(self) -> None:
        self.space.close()


def is_exhaustion(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # What torch says of the CPU's memory, and oneDNN of its own.
    said = ("can't allocate memory", "could not create a memory", "could not create a primitive")
    return type(error) is RuntimeError and any(text in str(error) for text in said)


class MicroBatches(L.Callback):
    """Chooses trainer.accumulate_grad_batches when training begins: as few parts of a step's batch as fit in memory.

    The choice costs a forward and backward pass for each size tried, and nothing of the training: neither weights nor
    random numbers. All processes take the same.

    Args:
        known: what a checkpoint was trained with, to go on with the same bits.
    """

    def __init__(self, known: int | None = None):
        self.known = known

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """After the processes have met, before a checkpoint is restored or a batch is loaded."""
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        share = data.batch_size // trainer.world_size
        reserve = Reserve()  # for what training needs beside, threads for one
        parts = self.known or fitting(trainer, pl_module, share)
        reserve.give_back()
        if trainer.world_size > 1:
            # 0 where not even one image fits.
            worst = torch.tensor(parts or share + 1, device=trainer.strategy.root_device)
            parts = int(trainer.strategy.reduce(worst, reduce_op="max")) % (share + 1)
        if not parts:
            raise UserError("out of memory: not even one image at a time fits, whatever data.batch_size: lower model.*")
        trainer.accumulate_grad_batches = parts
        log.info("memory       takes %d images at a time: %d parts of a step's batch", share // parts, parts)


def advice(trainer: L.Trainer, module: Any) -> str:
    """What to do where a training ran out of memory: with a number that was tried."""
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    share = data.batch_size // trainer.world_size
    parts = fitting(trainer, module, share)
    if parts is None:
        return "not even one image at a time fits: lower model.*"
    if parts <= trainer.accumulate_grad_batches:
        return (
            "a training step by itself fits: lower the batch_size of callbacks that draw or measure, or data.batch_size"
        )
    return (
        f"{share // parts} images at a time fit: pass trainer.accumulate_grad_batches={parts} (auto finds it), which "
        f"trains on the same batch in {parts} parts, or lower data.batch_size"
    )


def fitting(trainer: L.Trainer, module: Any, share: int) -> int | None:
    """The least number of equal parts of `share` images that can be trained on one at a time; None if none can."""
    counts = [n for n in range(1, share + 1) if share % n == 0]
    if trainer.strategy.root_device.type != "cpu":
        return next((n for n in counts if fits(trainer, module, share // n)), None)
    # Small ones first: what the C library's heap once had it keeps, and oneDNN's code for a new size finds no room.
    good = [*itertools.takewhile(lambda n: fits(trainer, module, share // n), reversed(counts))]
    return good[-1] if good else None


def fits(trainer: L.Trainer, module: Any, images: int) -> bool:
    """Whether a forward and backward pass of that many images succeeds, with what an optimizer such as Adam keeps.

    A quarter more are tried: what else a training allocates, and memory in pieces, must not end it hours later.
    """
    images = math.ceil(1.25 * images)
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    device = trainer.strategy.root_device
    module.to(device)
    try:
        x_0 = torch.zeros(images, *data.shape, device=device)
        y = None if module.num_classes is None else torch.zeros(images, dtype=torch.long, device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            draws = Draws([generator("memory")], device)
            with trainer.strategy.precision_plugin.train_step_context():
                loss = module.loss(module.denoiser, x_0, y, draws).loss.mean()
            loss.backward()
        _ = [torch.empty_like(parameter) for parameter in module.parameters() for _ in range(2)]
    except Exception as error:
        if not is_exhaustion(error):
            raise
        return False
    finally:
        module.zero_grad(set_to_none=True)
        free()
    return True


def free() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

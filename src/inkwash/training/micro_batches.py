"""Choose the size of micro-batches by the memory there is: a global batch that does not fit is split into parts."""

import gc
import itertools
import logging
import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch

from inkwash.config.shapes import network_shape
from inkwash.errors import UserError
from inkwash.random import Draws, generator
from inkwash.training.buffers import restored

log = logging.getLogger(__name__)


class Reserve:
    """Reserved address space, without memory behind it, to release when memory runs out.

    Finding out what would fit takes some itself.
    """

    BYTES = 1 << 26

    def __init__(self):
        self.space = mmap.mmap(-1, self.BYTES)

    def release(self) -> None:
        """Give the space back."""
        self.space.close()


def is_exhaustion(error: BaseException) -> bool:
    """Return whether an error is a failed allocation, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Messages of torch's CPU allocator, and of oneDNN.
    messages = ("can't allocate memory", "could not create a memory", "could not create a primitive")
    return type(error) is RuntimeError and any(text in str(error) for text in messages)


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Raise UserError with advice if drawing or measuring so many images at a time takes more memory than there is."""
    try:
        yield
    except Exception as error:
        if not is_exhaustion(error):
            raise
        advice = f"pass batch_size={batch_size // 2}" if batch_size > 1 else "take a machine with more memory"
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"out of memory ({reason}) with {batch_size} images at a time: {advice}") from error


class MicroBatches(L.Callback):
    """Sets trainer.accumulate_grad_batches when training begins: the least number of micro-batches that fit in memory.

    This costs a forward and backward pass for each size tried, and changes neither weights nor random numbers. All
    processes choose the same number.

    Args:
        known: the number that a checkpoint was trained with, to go on bit for bit; None to find one.
    """

    def __init__(self, known: int | None = None):
        self.known = known

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Choose, once the process group exists, before a checkpoint is restored or a batch is loaded."""
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        images = data.batch_size // trainer.world_size
        reserve = Reserve()  # for what else training needs, threads for example
        parts = self.known or fitting(trainer, pl_module, images)
        reserve.release()
        if trainer.world_size > 1:
            # 0 if not even one image fits on some rank.
            worst = torch.tensor(parts or images + 1, device=trainer.strategy.root_device)
            parts = int(trainer.strategy.reduce(worst, reduce_op="max")) % (images + 1)
        if not parts:
            raise UserError("out of memory: not even one image at a time fits, whatever data.batch_size: lower model.*")
        trainer.accumulate_grad_batches = parts
        log.info("memory       takes %d images at a time: %d parts of a step's batch", images // parts, parts)


def advice(trainer: L.Trainer, module: Any) -> str:
    """Return advice for a training that ran out of memory, with a number of micro-batches that was tried."""
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    images = data.batch_size // trainer.world_size
    parts = fitting(trainer, module, images)
    if parts is None:
        return "not even one image at a time fits: lower model.*"
    if parts <= trainer.accumulate_grad_batches:
        less = _less(trainer, module, images)
        return f"a training step by itself fits, not with what callbacks draw and measure: {less}"
    return (
        f"{images // parts} images at a time fit: pass trainer.accumulate_grad_batches={parts} (auto finds it), which "
        f"trains on the same batch in {parts} parts, or lower data.batch_size"
    )


def _less(trainer: L.Trainer, module: Any, images: int) -> str:
    """Say how callbacks take less memory at a time: by a key of theirs that was set, else by smaller micro-batches."""
    now = trainer.accumulate_grad_batches
    nodes = module.config.get("callbacks", {}).items()
    sizes = {f"callbacks.{name}.batch_size": (node or {}).get("batch_size") for name, node in nodes}
    if large := [f"{key}={size}" for key, size in sizes.items() if size is not None and size > images // now]:
        return f"leave out {' and '.join(large)}; without, they take as many images at a time as the training"
    more = next((n for n in range(now + 1, images + 1) if images % n == 0), None)
    if more is None:
        return "choose a smaller network with model.*"
    return f"pass trainer.accumulate_grad_batches={more}, with which they take {images // more} images at a time, too"


def fitting(trainer: L.Trainer, module: Any, images: int) -> int | None:
    """Return the least number of equal parts of a rank's images of which one fits in memory; None if no part does."""
    counts = [n for n in range(1, images + 1) if images % n == 0]
    if trainer.strategy.root_device.type != "cpu":
        return next((n for n in counts if fits(trainer, module, images // n)), None)
    # Small ones first: the C library's heap never gives memory back, and then oneDNN's code for a new size has no room.
    good = [*itertools.takewhile(lambda n: fits(trainer, module, images // n), reversed(counts))]
    # The size that did not fit has left the heap as large as it could become, and the one before has kernels to make.
    return next((n for n in reversed(good) if fits(trainer, module, images // n, more=1.0)), None)


def fits(trainer: L.Trainer, module: Any, images: int, more: float = 1.25) -> bool:
    """Return whether a forward and backward pass of so many images fits in memory, beside the state of Adam.

    It tries a quarter more images, so that other allocations and fragmentation do not end the training hours later.
    """
    images = math.ceil(more * images)
    shape, device = network_shape(module.config), trainer.strategy.root_device
    module.to(device)
    try:
        x_0 = torch.zeros(images, *shape, device=device)
        y = None if module.num_classes is None else torch.zeros(images, dtype=torch.long, device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), restored(module.denoiser.net):
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
    """Free memory that nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

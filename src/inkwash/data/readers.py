"""The processes that read batches ahead: how the images get to them, and how batches come back.

A forked reader has everything its parent had. Under the start methods forkserver (Python's default from 3.14 on) and
spawn the data set is pickled for it: what is mapped from a file goes as the file's path, and is mapped there again.

A batch comes back in shared memory, a file in /dev/shm, which containers often give 64 MB, and each takes two open
files. Where there is no room for that, batches come back through the pipe that announces them.
"""

import logging
import mmap
import multiprocessing
import os
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from inkwash.data.images import Flipped, Images, map_file
from inkwash.data.latents import WithNoise
from inkwash.errors import UserError
from inkwash.images import ImageSplit

SHARED = Path("/dev/shm")
AHEAD = 3  # batches of a reader that exist at once: two prefetched, one in the making
OPEN_FILES = 4096  # the limit that is asked for, if more are allowed than the process starts with
PER_READER, SPARE = 16, 64  # open files for each reader, and for everything else
LEAST, LEAST_SPARE = 5, 16  # without shared memory
log = logging.getLogger(__name__)


class Read(Dataset):
    """The data set of a reader: batches as they are sent, or a UserError in place of one.

    A reader's process hands the text of an exception's traceback to the training, and nothing else.

    Args:
        images: the split.
        by_pipe: send batches through the pipe at once, without trying shared memory.
    """

    def __init__(self, images: ImageSplit | Flipped | WithNoise, by_pipe: bool = False):
        self.images, self.by_pipe = images, by_pipe

    def __getitems__(self, indices: list[int]) -> Any:
        try:
            batch = self.images.__getitems__(indices)
        except UserError as error:
            return error
        return batch if get_worker_info() is None else self._sent(batch)

    def _sent(self, batch: tuple[Tensor, ...]) -> "tuple[Tensor, ...] | ByPipe":
        """Move a batch to shared memory; if it is full, or too many files are open, send it through the pipe.

        torch would do so in a thread, whose error nobody gets, and the training would wait for the batch for ever.
        """
        if not self.by_pipe:
            try:
                return tuple(tensor.share_memory_() for tensor in batch)
            except (RuntimeError, OSError):
                return ByPipe(batch, expected=False)
        return ByPipe(batch)


class ByPipe:
    """A batch that is pickled with its content, and unpickled as tensors."""

    def __init__(self, batch: tuple[Tensor, ...], expected: bool = True):
        self.batch, self.expected = batch, expected

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (tuple(tensor.numpy() for tensor in self.batch), self.expected)


def _received(arrays: tuple[np.ndarray, ...], expected: bool) -> tuple[Tensor, ...]:
    """Make tensors of a batch that came by pipe; warn of the first one that should have come in shared memory."""
    if not expected and not _received.__dict__.setdefault("warned", False):
        _received.__dict__["warned"] = True
        log.warning("readers      there is no shared memory left (/dev/shm): batches come by pipe, which takes longer")
    return tuple(torch.from_numpy(array) for array in arrays)


def plan(workers: int, batch_bytes: int, ranks: int = 1) -> tuple[int, bool]:
    """Return how many readers to start, and whether batches have to come by pipe. Logs what is not as it was asked for.

    Args:
        workers: data.num_workers.
        batch_bytes: of one batch.
        ranks: processes of this machine, which share its /dev/shm.

    Raises:
        UserError: so many readers need more open files than are allowed.
    """
    if workers == 0:
        return 0, False
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:  # no /dev/shm, or one without a permission
        log.warning("readers      cannot be started here (%s): the training reads its images itself", error)
        return 0, False
    if multiprocessing.get_start_method() == "forkserver":
        # It imports once what every reader needs, and keeps away from signals to the training.
        multiprocessing.set_forkserver_preload(["inkwash.data.fork_server"])
    needed, free = ranks * workers * AHEAD * batch_bytes, _free(SHARED)
    if free is not None and free < needed:
        log.warning(
            "readers      /dev/shm has %.0f MB left, and the batches of %d readers may take %.0f MB: they come by "
            "pipe, which takes longer (docker run --shm-size=1g makes room)",
            free / 1e6, ranks * workers, needed / 1e6,
        )  # fmt: skip
        return workers, True
    if (limit := _open_files()) < LEAST_SPARE + workers * LEAST:
        raise UserError(
            f"data.num_workers={workers} needs {workers * LEAST} open files, but this process may open {limit} more: "
            f"pass data.num_workers={max(0, (limit - LEAST_SPARE) // LEAST)}, or raise `ulimit -n`"
        )
    if limit < SPARE + workers * PER_READER:
        log.warning(
            "readers      this process may open %d more files (ulimit -n), too few for %d readers with shared memory: "
            "batches come by pipe, which takes longer", limit, workers,
        )  # fmt: skip
        return workers, True
    return workers, False


def _free(folder: Path) -> int | None:
    """Return the free bytes of a folder's file system; None if there is no such folder, as on macOS."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _open_files() -> int:
    """Return how many more files may be opened, after asking for as many as are allowed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        soft = OPEN_FILES if hard < 0 else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft - len(os.listdir("/dev/fd")) if soft >= 0 else OPEN_FILES


# --- To readers that are not forked -----------------------------------------------------------------------------------


def _reduce_images(images: Images) -> tuple[Any, ...]:
    """Pickle a split for another process: by its file, in shared memory, or, if that is full, by its content."""
    pixels: Any = images.images
    if images.file is not None:
        pixels = (images.file, tuple(pixels.shape))
    else:
        try:
            pixels.share_memory_()  # once for all readers
        except (RuntimeError, OSError):
            pixels = pixels.numpy()
    return _images, (pixels, images.labels.numpy(), images.fingerprint, images.facts)


def _images(pixels: Any, labels: np.ndarray, fingerprint: str, facts: Any) -> Images:
    file: Path | None = None
    if isinstance(pixels, tuple):
        file, pixels = pixels[0], map_file(*pixels)
    elif isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels)
    return Images(pixels, torch.from_numpy(labels), fingerprint, facts, file)


def _reduce_mapped(array: np.memmap) -> tuple[Any, ...]:
    """Pickle an array that is mapped from a file, or a part of it, by the file's path and its place there."""
    source: Any = getattr(array, "_mmap", None)
    if source is None or not isinstance(array.filename, str | os.PathLike):
        return np.array, (np.array(array),)
    start = array.__array_interface__["data"][0] - np.frombuffer(source, np.uint8).__array_interface__["data"][0]
    offset = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + start
    return _mapped_again, (str(array.filename), offset, array.shape, array.dtype, array.strides)


def _mapped_again(name: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...]) -> Any:
    whole = np.memmap(name, np.uint8, "r")
    return np.ndarray(shape, dtype, whole, offset, strides)


ForkingPickler.register(Images, _reduce_images)
ForkingPickler.register(np.memmap, _reduce_mapped)

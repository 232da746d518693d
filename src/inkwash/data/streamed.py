"""What sources of shards share: the split, and an index of the files that is made once."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from inkwash.data.encoded import (
    DECODER,
    absolute,
    find_files,
    given,
    make_cache_dir,
    place_of,
    rows_of,
    undamaged,
    version_of,
)
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.stream import Stream
from inkwash.errors import UserError
from inkwash.files import filling, replacing

FORMAT = 1  # of an index: raise it when it would have other content
log = logging.getLogger(__name__)


class StreamedSource(ABC):
    """Images that are read from shards whenever they are needed; a subclass knows the shards' format.

    Args:
        heldout_path: the held-out images, found like `data.path`.
        heldout_fraction: without a heldout_path, this part of the images, the same ones whatever the seed.
        resize: scale images to cover H x W and crop the centre; without it every image must have the size wanted.
        skip_corrupt: have another image take the place of one that cannot be read, instead of stopping.
        window: how many images are mixed with each other, in whole blocks, at least four of them. Their encoded bytes
            are what every process that reads holds in memory.
        cache_dir: where the index is kept, 40 bytes an image at most. Whatever is in it can be deleted.
    """

    pattern: str  # of the files in a folder

    def __init__(
        self,
        heldout_path: str | None,
        heldout_fraction: float,
        resize: bool,
        skip_corrupt: bool,
        window: int,
        cache_dir: str,
    ):
        if window < 1:
            raise UserError(f"data.source.window={window} must be at least 1")
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.resize, self.skip_corrupt, self.window = resize, skip_corrupt, window
        self.cache_dir = Path(cache_dir).expanduser()

    @abstractmethod
    def options(self) -> tuple[str | None, ...]:
        """Arguments that decide what is found in a file."""

    @abstractmethod
    def scan(self, file: Path) -> Scanned:
        """Find the images of a file. Raises UserError where it is damaged or has none of what `options` name."""

    @abstractmethod
    def shards(self, files: Sequence[Path], index: Index) -> Shards:
        """The files, to be read."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Stream:
        """The images of a split: see `Source.load`."""
        place, key = place_of(split, given(path), self.heldout_path)
        files = find_files(place, self.pattern, key)
        directory = self._indexed(files, f"{key}={place}")
        part = ("all",) if self.heldout_path else (split, str(self.heldout_fraction))
        with undamaged(directory):
            index = Index(directory)
            chosen = self._chosen(directory, split, len(index.images))
            index.images[chosen[-1]]  # or they would be missed later
        stream = Stream(
            self.shards(files, index),
            chosen,
            shape,
            self.resize,
            self.skip_corrupt,
            self.window,
            fingerprint=_hash(
                [DECODER, [file.name for file in files], index.digests, self.options(), *part, shape, self.resize]
            ),
        )
        if split == "train":
            log.info(
                "stream       %s images in %d blocks of %d files; a process that reads holds up to %d blocks, %.1f MB",
                f"{len(stream):,}", len(index.blocks), len(files), stream.capacity, stream.memory / 1e6,
            )  # fmt: skip
        return stream

    def _indexed(self, files: Sequence[Path], place: str) -> Path:
        """The directory of the files' index, made by the first rank or job, which the others wait for."""
        key = [FORMAT, type(self).__name__, [version_of(file) for file in files], self.options()]
        directory = self.cache_dir / f"index-{_hash(key)}"
        make_cache_dir(self.cache_dir)
        with FileLock(f"{directory}.lock"):
            if not directory.exists():
                bar = tqdm(files, "Looking through the files", unit=" files", disable=None)
                with filling(directory) as partial:
                    if not Index.write(partial, (self.scan(file) for file in bar)):
                        raise UserError(f"{place} holds no images in its {len(files)} files: give others")
        return directory

    def _chosen(self, directory: Path, split: str, count: int) -> np.ndarray:
        """int64, the numbers of the split's images, mapped: those that the same files as one array would have."""
        path = directory / ("all.npy" if self.heldout_path else f"{split}-{self.heldout_fraction}.npy")
        with FileLock(f"{directory}.lock"):
            if not path.exists():
                part = not self.heldout_path
                rows = np.flatnonzero(rows_of(split, count, self.heldout_fraction)) if part else np.arange(count)
                with replacing(path) as partial, open(partial, "wb") as file:
                    np.save(file, rows)
        return np.load(path, mmap_mode="r")


def _hash(key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]

"""Base class of sources that stream shards: the split, and an index of the files that is made once."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from inkwash.data.encoded import (
    absolute,
    given,
    make_cache_dir,
    place_of,
    rows_of,
    undamaged,
    version_of,
)
from inkwash.data.paths import find_files
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.stream import Stream
from inkwash.errors import UserError
from inkwash.files import filling, replacing

PIXELS = 1  # part of every fingerprint: raise it if `decode` gives other pixels for images of three channels
FORMAT = 2  # of an index: raise it if its content changes
log = logging.getLogger(__name__)


class StreamedSource(ABC):
    """Base class of sources that read images from shards while they are used; a subclass knows the format.

    Args:
        heldout_path: file, folder or glob of the held-out images; null to split `data.path`.
        heldout_fraction: fraction of the images held out if there is no heldout_path, the same ones for every seed.
        resize: scale images to cover H x W and crop the centre; if false, every image must be H x W.
        skip_corrupt: replace an image that cannot be read by another one, instead of stopping.
        window: number of images that are mixed with each other, in whole blocks, at least four of them. Every process
            that reads holds their encoded bytes in memory.
        cache_dir: folder for the index, 40 bytes an image at most. Anything in it may be deleted.
        rendering: what black, white and background say (rendering.py).
    """

    suffixes: tuple[str, ...]  # of the files in a folder

    def __init__(
        self,
        heldout_path: str | None,
        heldout_fraction: float,
        resize: bool,
        skip_corrupt: bool,
        window: int,
        cache_dir: str,
        rendering: Rendering,
    ):
        if window < 1:
            raise UserError(f"data.source.window={window} must be at least 1")
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.resize, self.skip_corrupt, self.window = resize, skip_corrupt, window
        self.cache_dir = Path(cache_dir).expanduser()
        self.rendering = rendering

    @abstractmethod
    def options(self) -> tuple[str | None, ...]:
        """Return the arguments that the index depends on."""

    @abstractmethod
    def scan(self, file: Path) -> Scanned:
        """Find the images of a file. Raises UserError if it is damaged or lacks what `options` name."""

    @abstractmethod
    def shards(self, files: Sequence[Path], index: Index) -> Shards:
        """Return the reader of the files."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Stream:
        """Load the images of a split (see `Source.load`)."""
        place, key = place_of(split, given(path), self.heldout_path)
        files = find_files(place, self.suffixes, key)
        directory = self._indexed(files, f"{key}={place}")
        part = ("all",) if self.heldout_path else (split, str(self.heldout_fraction))
        with undamaged(directory):
            index = Index(directory)
            chosen = self._chosen(directory, split, len(index.images))
            index.images[chosen[-1]]  # raises an error now if the file is cut short
        names, pixels = [file.name for file in files], (shape, self.resize, *self.rendering.version(shape[0]))
        fingerprint = _hash([PIXELS, names, index.digests, self.options(), *part, *pixels])
        shards = self.shards(files, index)
        stream = Stream(shards, chosen, shape, self.resize, self.skip_corrupt, self.window, fingerprint, self.rendering)
        if split == "train":
            log.info(
                "stream       %s images in %d blocks of %d files; each reading process holds up to %d blocks, %.1f MB",
                f"{len(stream):,}", len(index.blocks), len(files), stream.capacity, stream.memory / 1e6,
            )  # fmt: skip
        return stream

    def _indexed(self, files: Sequence[Path], place: str) -> Path:
        """Return the folder of the files' index, which the first rank or job makes while the others wait."""
        key = [FORMAT, type(self).__name__, [version_of(file) for file in files], self.options()]
        directory = self.cache_dir / f"index-{_hash(key)}"
        make_cache_dir(self.cache_dir)
        with FileLock(f"{directory}.lock"):
            if not directory.exists():
                bar = tqdm(files, "Indexing the files", unit=" files", disable=None)
                with filling(directory) as partial:
                    if not Index.write(partial, (self.scan(file) for file in bar)):
                        raise UserError(f"{place} holds no images in its {len(files)} files: give others")
        return directory

    def _chosen(self, directory: Path, split: str, count: int) -> np.ndarray:
        """Return the numbers of the split's images, int64, mapped: the same split as that of a cached source."""
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

"""What sources of encoded images share: each image is decoded once in its life, into a memory-mapped cache."""

import hashlib
import logging
import os
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from inkwash.data.decode import CorruptImageError, decode
from inkwash.data.images import Images, fingerprint_of
from inkwash.errors import UserError
from inkwash.files import filling
from inkwash.random import generator

DECODER = 1  # part of every cache key: raise it when `decode` gives other pixels
log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One encoded image; `name` is what errors call it, `label` is -1 where there is none."""

    name: str
    encoded: bytes | Path
    label: int


class Entries(NamedTuple):
    """The encoded images of a split; `version` changes whenever the files or the choice among them do."""

    version: object
    total: int
    stream: Iterable[Entry]


class EncodedSource(ABC):
    """Images that have to be decoded; a subclass says how to find them.

    Args:
        resize: scale images to cover H x W and crop the centre; without it every image must have the size wanted.
        skip_corrupt: leave out what is not a readable image instead of stopping.
        cache_dir: where decoded images are kept, C * H * W bytes each. Whatever is in it can be deleted.
    """

    def __init__(self, resize: bool, skip_corrupt: bool, cache_dir: str):
        self.resize = resize
        self.skip_corrupt = skip_corrupt
        self.cache_dir = Path(cache_dir).expanduser()

    @abstractmethod
    def find(self, split: str, path: Path) -> Entries:
        """The encoded images of a split ("train" or "heldout")."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Images:
        """The decoded images of a split: see `Source.load`."""
        found = self.find(split, given(path))
        key = repr((DECODER, found.version, shape, self.resize, self.skip_corrupt))
        directory = self.cache_dir / hashlib.sha256(key.encode()).hexdigest()[:32]
        make_cache_dir(self.cache_dir)
        with FileLock(f"{directory}.lock"):  # the first rank or job decodes, the others wait for it
            if not directory.exists():
                self._fill(directory, found, shape, f"Decoding {split} images")
        with undamaged(directory):
            labels = torch.from_numpy(np.load(directory / "labels.npy"))
            return Images(_mapped(directory, len(labels), shape), labels, (directory / "fingerprint").read_text())

    def _fill(self, directory: Path, found: Entries, shape: tuple[int, int, int], title: str) -> None:
        """Decode the images of a split into a new cache directory.

        Raises:
            UserError: the disk has no room for them.
        """
        needed, free = found.total * shape[0] * shape[1] * shape[2], shutil.disk_usage(self.cache_dir).free
        if needed > free:
            raise UserError(
                f"{found.total} decoded images take {needed / 1e9:.1f} GB, but data.source.cache_dir={self.cache_dir} "
                f"has {free / 1e9:.1f} GB left: choose another folder"
            )
        with filling(directory) as partial:
            labels = torch.tensor(self._decode_all(partial, found, shape, title))
            np.save(partial / "labels.npy", labels.numpy())
            (partial / "fingerprint").write_text(fingerprint_of(_mapped(partial, len(labels), shape), labels))

    def _decode_all(self, directory: Path, found: Entries, shape: tuple[int, int, int], title: str) -> list[int]:
        """Write the readable images and return their labels."""
        labels, skipped = [], []
        with open(directory / "images", "wb") as file:
            for entry in tqdm(found.stream, title, found.total, unit=" images", disable=None):
                try:
                    image = decode(entry.encoded, shape, self.resize, entry.name)
                except CorruptImageError:
                    if not self.skip_corrupt:
                        raise
                    skipped.append(entry.name)
                    continue
                file.write(image.numpy().tobytes())
                labels.append(entry.label)
        if skipped:
            log.warning("skipped %d of %d unreadable images, %s first", len(skipped), found.total, skipped[0])
        if not labels:
            raise UserError(
                f"none of the {found.total} images can be read, {skipped[0]} to begin with: check data.path"
            )
        return labels


@contextmanager
def undamaged(directory: Path) -> Iterator[None]:
    """Around the reading of a cache: raises UserError where a file in it is cut short, another one or gone."""
    try:
        yield
    except (FileNotFoundError, EOFError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{directory} is damaged ({str(error).partition(chr(10))[0]}): delete it") from error


def make_cache_dir(path: Path) -> None:
    """Raises UserError where it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"data.source.cache_dir={path} cannot be written to: choose another folder")


def absolute(path: str | None) -> Path | None:
    """A path that a change of directory does not change; None for none."""
    return Path(path).expanduser().absolute() if path else None


def given(path: str | None) -> Path:
    """data.path, absolute. Raises UserError where it is missing."""
    if (place := absolute(path)) is None:
        raise UserError("data.path is missing: add data.path=... (a file, a folder or a quoted glob)")
    return place


def place_of(split: str, path: Path, heldout_path: Path | None) -> tuple[Path, str]:
    """Where a split's images lie, and the key that says so."""
    if split == "heldout" and heldout_path:
        return heldout_path, "data.source.heldout_path"
    return path, "data.path"


def find_files(path: Path, pattern: str, key: str) -> list[Path]:
    """The file at a path, all in a folder that fit the pattern ("*.parquet"), or all that fit a glob; sorted.

    Raises:
        UserError: there are none.
    """
    files = [path] if path.is_file() else sorted(map(Path, glob(str(path / pattern if path.is_dir() else path))))
    if not files:
        raise UserError(f"{key}={path} finds no file: give a {pattern[1:]} file, a folder of them or a quoted glob")
    return files


def rows_of(split: str, count: int, heldout_fraction: float) -> Tensor:
    """Which of `count` images belong to a split: bool (count,), a function of the two numbers alone."""
    heldout = round(count * heldout_fraction)
    if not 0 < heldout < count:
        raise UserError(
            f"data.source.heldout_fraction={heldout_fraction} of {count} images leaves a split empty: change it"
        )
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator("heldout"))[:heldout]] = True
    return chosen if split == "heldout" else ~chosen


def version_of(file: Path) -> tuple[str, int, int]:
    """What tells one state of a file from another: path, bytes, time of change in ns. Raises UserError for no file."""
    try:
        state = file.stat()
    except FileNotFoundError as error:
        raise UserError(f"{file} is a link to nothing: remove it from data.path") from error
    if not stat.S_ISREG(state.st_mode):  # reading from a pipe may never end
        raise UserError(f"{file} is a pipe, a socket or a device: remove it from data.path")
    return str(file), state.st_size, state.st_mtime_ns


def _mapped(directory: Path, count: int, shape: tuple[int, int, int]) -> Tensor:
    """uint8 (count, C, H, W), read from disk page by page as it is used."""
    size = count * shape[0] * shape[1] * shape[2]
    return torch.from_file(str(directory / "images"), shared=False, size=size, dtype=torch.uint8).view(count, *shape)

"""Base class of sources of encoded images, which are decoded once into a memory-mapped cache."""

import hashlib
import json
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from inkwash.data.caches import ensure
from inkwash.data.decode import AS_IT_IS, CorruptImageError, decode, pages_of, size_of
from inkwash.data.facts import Facts, Tally
from inkwash.data.images import Images, fingerprint_of, map_file
from inkwash.data.rendering import Rendering
from inkwash.data.suspicions import of_pages
from inkwash.errors import UserError
from inkwash.files import NAMES

DECODER = 2  # part of every cache key: raise it if `decode` gives other pixels
LOOKED_AT = 256  # images whose sizes and pages are noted


class Entry(NamedTuple):
    """An encoded image, its name in errors, and its label, -1 if it has none."""

    name: str
    encoded: bytes | Path
    label: int


class Entries(NamedTuple):
    """The encoded images of a split.

    version: changes if the files, the labels or the choice among them do.
    total: their number.
    stream: the images.
    facts: what was found beside them.
    """

    version: object
    total: int
    stream: Iterable[Entry]
    facts: Facts


class EncodedSource(ABC):
    """Base class of sources of encoded images; a subclass writes `find`.

    Args:
        resize: scale images to cover H x W and crop the centre; if false, every image must be H x W.
        skip_corrupt: leave out images that cannot be read instead of stopping.
        cache_dir: folder for decoded images, C * H * W bytes each. Anything in it may be deleted.
        rendering: what black, white and background say (rendering.py).
    """

    def __init__(self, resize: bool, skip_corrupt: bool, cache_dir: str, rendering: Rendering = AS_IT_IS):
        self.resize = resize
        self.skip_corrupt = skip_corrupt
        self.rendering = rendering
        self.cache_dir = Path(cache_dir).expanduser()

    @abstractmethod
    def find(self, split: str, path: Path) -> Entries:
        """Find the encoded images of a split ("train" or "heldout")."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Images:
        """Load the decoded images of a split (see `Source.load`)."""
        entries = self.find(split, given(path))
        key = repr((DECODER, entries.version, shape, self.resize, self.skip_corrupt, self.rendering))
        directory = self.cache_dir / hashlib.sha256(key.encode()).hexdigest()[:32]
        ensure(directory, lambda partial: self._fill(partial, entries, shape, f"Decoding {split} images"))
        with undamaged(directory):
            labels = torch.from_numpy(np.load(directory / "labels.npy"))
            mapped = map_file(directory / "images", (len(labels), *shape))
            fingerprint = (directory / "fingerprint").read_text()
            found = json.loads((directory / "found.json").read_text("utf-8"))
            kept = directory / "digests.npy"  # caches of older versions have none
            digests = np.load(kept) if kept.is_file() else None
        skipped = {reason: Tally(*tally) for reason, tally in found["skipped"].items()}
        facts = entries.facts.without(skipped, found["sizes"], tuple(found.get("suspicious", ())))
        return Images(mapped, labels, fingerprint, facts, directory / "images", digests)

    def _fill(self, partial: Path, entries: Entries, shape: tuple[int, int, int], title: str) -> None:
        """Decode the images of a split into a new folder of the cache.

        Raises:
            UserError: the disk has no room for them.
        """
        needed, free = entries.total * shape[0] * shape[1] * shape[2], shutil.disk_usage(self.cache_dir).free
        if needed > free:
            raise UserError(
                f"{entries.total} decoded images take {needed / 1e9:.1f} GB, but data.source.cache_dir="
                f"{self.cache_dir} has {free / 1e9:.1f} GB left: choose another folder"
            )
        labels, digests, found = self._decode_all(partial, entries, shape, title)
        np.save(partial / "labels.npy", labels.numpy())
        np.save(partial / "digests.npy", np.frombuffer(digests, np.int64))
        (partial / "found.json").write_text(json.dumps(found), "utf-8", NAMES)
        images = map_file(partial / "images", (len(labels), *shape))
        (partial / "fingerprint").write_text(fingerprint_of(images, labels))

    def _decode_all(
        self, directory: Path, entries: Entries, shape: tuple[int, int, int], title: str
    ) -> tuple[Tensor, bytes, dict[str, Any]]:
        """Write the readable images; return their labels, 8 bytes of each one's hash, and what found.json holds."""
        labels, digests, skipped, sizes, suspicious = [], bytearray(), Tally(), [], []
        every = max(1, entries.total // LOOKED_AT)
        with open(directory / "images", "wb") as file:
            bar = tqdm(entries.stream, title, entries.total, unit=" images", disable=None)
            for number, entry in enumerate(bar):
                try:
                    image = decode(entry.encoded, shape, self.resize, entry.name, self.rendering)
                except CorruptImageError:
                    if not self.skip_corrupt:
                        raise
                    skipped.add(entry.name)
                    continue
                pixels = image.numpy().tobytes()
                file.write(pixels)
                digests += hashlib.blake2b(pixels, digest_size=8).digest()
                labels.append(entry.label)
                if number % every == 0:
                    sizes.append(size_of(entry.encoded))
                    if not suspicious and (pages := pages_of(entry.encoded)) > 1:
                        suspicious.append(of_pages(entry.name, pages))
        if entries.total and not labels:
            raise UserError(
                f"none of the {entries.total} images can be read, {skipped.first[0]} first: check data.path"
            )
        found = {
            "skipped": {"unreadable": [skipped.count, skipped.first]} if skipped.count else {},
            "sizes": extremes(sizes),
            "suspicious": suspicious,
        }
        return torch.tensor(labels, dtype=torch.int64), bytes(digests), found


def extremes(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the smallest and the largest height and width of sizes (height, width); None without any."""
    if not sizes:
        return None
    heights, widths = zip(*sizes, strict=True)
    return (min(heights), min(widths)), (max(heights), max(widths))


@contextmanager
def undamaged(directory: Path) -> Iterator[None]:
    """Turn errors of reading a cache into a UserError: a file in it is cut short, replaced or missing."""
    try:
        yield
    except (FileNotFoundError, EOFError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{directory} is damaged ({str(error).partition(chr(10))[0]}): delete it") from error


def absolute(path: str | None) -> Path | None:
    """Return the absolute path; None for None."""
    return Path(path).expanduser().absolute() if path else None


def given(path: str | None) -> Path:
    """Return data.path as an absolute path. Raises UserError if it is missing."""
    if (place := absolute(path)) is None:
        raise UserError("data.path is missing: add data.path=... (a file, a folder or a quoted glob)")
    return place


def version_of(file: Path) -> tuple[str, int, int]:
    """Return (path, size, time of change in ns), which tells one state of a file from another.

    Raises:
        UserError: it is not a regular file.
    """
    try:
        state = file.stat()
    except FileNotFoundError as error:
        raise UserError(f"{file} is a link to a file that does not exist: remove it from data.path") from error
    if not stat.S_ISREG(state.st_mode):  # reading from a pipe may never end
        raise UserError(f"{file} is a pipe, a socket or a device: remove it from data.path")
    return str(file), state.st_size, state.st_mtime_ns

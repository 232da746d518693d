"""The cache of decoded images: encoded ones are decoded once into a file, which is mapped into memory afterwards."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inkwash.data.caches import ensure, undamaged
from inkwash.data.decode import CorruptImageError, decode, pages_of, size_of
from inkwash.data.encoded import Entries
from inkwash.data.facts import Tally
from inkwash.data.images import Images, fingerprint_of, map_file
from inkwash.data.rendering import Rendering
from inkwash.data.suspicions import of_pages
from inkwash.errors import UserError
from inkwash.files import NAMES
from inkwash.reports.progress_bar import progress_bar

LOOKED_AT = 256  # images whose sizes and pages are noted


class Decoding(NamedTuple):
    """How images are decoded: see `decode` and EncodedSource."""

    shape: tuple[int, int, int]
    resize: bool
    skip_corrupt: bool
    rendering: Rendering


def load_decoded(directory: Path, entries: Entries, how: Decoding, title: str) -> Images:
    """Return the images of a folder of the cache, which the first rank or job fills while the others wait.

    Args:
        title: of the bar while it is filled.

    Raises:
        UserError: an image cannot be decoded, the disk has no room, or the cache is damaged.
    """
    ensure(directory, lambda partial: _fill(partial, entries, how, title))
    with undamaged(directory):
        labels = torch.from_numpy(np.load(directory / "labels.npy"))
        mapped = map_file(directory / "images", (len(labels), *how.shape))
        fingerprint = (directory / "fingerprint").read_text()
        found = json.loads((directory / "found.json").read_text("utf-8"))
        kept = directory / "digests.npy"  # caches of older versions have none
        digests = np.load(kept) if kept.is_file() else None
    skipped = {reason: Tally(*tally) for reason, tally in found["skipped"].items()}
    facts = entries.facts.without(skipped, found["sizes"], tuple(found.get("suspicious", ())))
    return Images(mapped, labels, fingerprint, facts, directory / "images", digests)


def _fill(partial: Path, entries: Entries, how: Decoding, title: str) -> None:
    """Decode the images of a split into a new folder of the cache."""
    cache = partial.parent
    needed, free = entries.total * how.shape[0] * how.shape[1] * how.shape[2], shutil.disk_usage(cache).free
    if needed > free:
        raise UserError(
            f"{entries.total} decoded images take {needed / 1e9:.1f} GB, but data.source.cache_dir={cache} has "
            f"{free / 1e9:.1f} GB left: choose another folder"
        )
    labels, digests, found = _decode_all(partial, entries, how, title)
    np.save(partial / "labels.npy", labels.numpy())
    np.save(partial / "digests.npy", np.frombuffer(digests, np.int64))
    (partial / "found.json").write_text(json.dumps(found), "utf-8", NAMES)
    images = map_file(partial / "images", (len(labels), *how.shape))
    (partial / "fingerprint").write_text(fingerprint_of(images, labels))


def _decode_all(directory: Path, entries: Entries, how: Decoding, title: str) -> tuple[Tensor, bytes, dict[str, Any]]:
    """Write the readable images; return their labels, 8 bytes of each one's hash, and what found.json holds."""
    labels, digests, skipped, sizes, suspicious = [], bytearray(), Tally(), [], []
    every = max(1, entries.total // LOOKED_AT)
    with open(directory / "images", "wb") as file:
        bar = progress_bar(entries.stream, desc=title, total=entries.total, unit="images")
        for number, entry in enumerate(bar):
            try:
                image = decode(entry.encoded, how.shape, how.resize, entry.name, how.rendering)
            except CorruptImageError:
                if not how.skip_corrupt:
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
        raise UserError(f"none of the {entries.total} images can be read, {skipped.first[0]} first: check data.path")
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

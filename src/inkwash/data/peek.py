"""Suggest data.shape from the headers of some images, without torch: for the command's own process."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from inkwash.data.unseen import unseen

LOOKED_AT = 200
CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "I;16": 1, "LA": 4, "RGBA": 4, "PA": 4}  # of Pillow's modes; others have 3


def advice(path: str) -> str:
    """Return a clause that says which data.shape the images at a path suggest; "" if none can be read.

    Args:
        path: data.path: a folder of image files, or Parquet or tar files or a folder of them.
    """
    from PIL import Image  # costs 40 ms

    place, seen = Path(path).expanduser(), []
    for source in islice(_sources(place), LOOKED_AT):
        try:
            with Image.open(source) as image:
                clear = image.mode == "P" and "transparency" in image.info
                seen.append((4 if clear else CHANNELS.get(image.mode, 3), image.height, image.width))
        except Exception:  # not an image: another one tells
            continue
    return _advice(seen) if seen else ""


def _advice(seen: list[tuple[int, int, int]]) -> str:
    channels = max(Counter(c for c, _, _ in seen).items(), key=lambda item: (item[1], item[0]))[0]
    sizes = {(height, width) for _, height, width in seen}
    low, high = min(sizes, key=lambda size: size[0] * size[1]), max(sizes, key=lambda size: size[0] * size[1])
    found = f"{low[0]} x {low[1]}" if low == high else f"{low[0]} x {low[1]} to {high[0]} x {high[1]}"
    if low == high and max(low) <= 64:
        shape, scaled = low, ""
    else:
        side = next((s for s in (64, 32, 16) if s <= min(map(min, sizes))), min(map(min, sizes)))
        shape, scaled = (side, side), ", scaled and cropped"
    kind = {1: "grey", 3: "colour", 4: "colour with transparency"}[channels]
    return (
        f"the {len(seen)} images looked at are {found} pixels (height x width), {kind}: "
        f"pass data.shape=[{channels},{shape[0]},{shape[1]}]{scaled}"
    )


def _sources(place: Path) -> Iterator[str | IO[bytes]]:
    """Yield some image files, or encoded images of Parquet and tar files."""
    if place.is_dir():
        below = (Path(folder, name) for folder, _, names in sorted(os.walk(place)) for name in sorted(names))
        files = (file for file in below if not unseen(file.relative_to(place).parts))
    else:
        files = iter(sorted(place.parent.glob(place.name)) if place.name else [])
    for file in files:
        if file.name.startswith("."):
            continue
        readers = {".parquet": _in_parquet, ".tar": _in_tar, ".zip": _in_zip}
        reader = readers.get(file.suffix.lower())
        try:
            yield from islice(reader(file), LOOKED_AT) if reader else [str(file)]
        except Exception:  # a damaged file: the training names it
            continue


def _in_parquet(file: Path) -> Iterator[IO[bytes]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(16):
        for row in batch.to_pylist():
            for value in row.values():
                content: Any = value.get("bytes") if isinstance(value, dict) else value
                if isinstance(content, bytes):
                    yield io.BytesIO(content)


def _in_tar(file: Path) -> Iterator[IO[bytes]]:
    import tarfile

    with tarfile.open(file, "r:") as tar:
        for member in tar:
            if member.isfile() and (content := tar.extractfile(member)):
                yield io.BytesIO(content.read())


def _in_zip(file: Path) -> Iterator[IO[bytes]]:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            yield io.BytesIO(archive.read(name))

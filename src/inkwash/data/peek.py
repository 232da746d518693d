"""Suggest data.shape from the headers of some images, without torch: for the command's own process."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from inkwash.data.paths import braces
from inkwash.data.unseen import unseen

if TYPE_CHECKING:
    from PIL import Image

LOOKED_AT = 200
ORIENTATION = 274  # of EXIF
CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 4, "RGBA": 4, "PA": 4}  # of Pillow's modes; others have 3


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
                seen.append(_shape(image))
        except Exception:  # not an image: another one tells
            continue
    return _advice(seen) if seen else ""


def _shape(image: "Image.Image") -> tuple[int, int, int]:
    """Return channels, height and width of an image, upright."""
    clear = image.mode == "P" and "transparency" in image.info
    channels = 4 if clear else CHANNELS.get(image.mode.partition(";")[0], 3)
    lies = image.getexif().get(ORIENTATION, 1) in range(5, 9)
    return channels, *((image.width, image.height) if lies else (image.height, image.width))


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
        patterns = braces(place.name) if place.name else ()
        files = (file for pattern in patterns for file in sorted(place.parent.glob(pattern)))
    for file in files:
        if file.name.startswith("."):
            continue
        readers = {".parquet": _in_parquet, ".pq": _in_parquet, ".parq": _in_parquet, ".tar": _in_tar, ".zip": _in_zip}
        reader = readers.get(file.suffix.lower())
        try:
            yield from islice(reader(file), LOOKED_AT) if reader else [str(file)]
        except Exception:  # a damaged file: the training names it
            continue


def _in_parquet(file: Path) -> Iterator[str | IO[bytes]]:
    import pyarrow.parquet as pq

    from inkwash.data.columns import columns_of, holds_images, images_of
    from inkwash.data.rendering import Rendering

    shard = pq.ParquetFile(file)
    schema = shard.schema_arrow
    names = [field.name for field in schema if holds_images(field.type)] or [columns_of(file, schema, None, None)[0]]
    for batch in shard.iter_batches(16, columns=names):
        for column in batch.columns:  # whatever the range of arrays, they have the same shape
            for image in images_of(column, file.parent, Rendering(0, 65535)):
                yield io.BytesIO(image) if isinstance(image, bytes) else str(image)


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

"""Find a data.shape by the headers of some images, without torch: for the command's own process."""

import io
import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from inkwash.data.paths import braces
from inkwash.data.unseen import unseen

if TYPE_CHECKING:
    from PIL import Image

LOOKED_AT = 200
FILES = 20 * LOOKED_AT  # among which are images
ORIENTATION = 274  # of EXIF
CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 4, "RGBA": 4, "PA": 4}  # of Pillow's modes; others have 3
SIDES = (64, 32, 16)  # of what is trained on, if the images are larger
MULTIPLE = 4  # of height and width, which networks halve


class Seen(NamedTuple):
    """Sizes of some images.

    images: their number.
    channels: 1 if all are grey, 4 if most are transparent, else 3.
    low, high: height and width of the smallest and the largest by their areas.
    side: the shortest side of all.
    """

    images: int
    channels: int
    low: tuple[int, int]
    high: tuple[int, int]
    side: int

    def __str__(self) -> str:
        sizes = [f"{height} x {width}" for height, width in dict.fromkeys((self.low, self.high))]
        kind = {1: "grey", 3: "colour", 4: "colour with transparency"}[self.channels]
        return f"the {self.images} images looked at are {' to '.join(sizes)} pixels (height x width), {kind}"

    def shape(self, side: int | None = None) -> list[int]:
        """Return [channels, height, width] to train on: the images' own, if they are small and of one size.

        Args:
            side: height and width, if they are given.
        """
        alike = self.low == self.high and max(self.low) <= SIDES[0]
        if side is None and alike and (all(n % MULTIPLE == 0 for n in self.low) or self.side < MULTIPLE):
            return [self.channels, *self.low]
        largest = max(self.side - self.side % MULTIPLE, 1)
        side = side or next((s for s in SIDES if s <= self.side), largest)
        return [self.channels, side, side]

    def scales(self, shape: list[int]) -> bool:
        """Tell whether an image must be scaled or cropped to be of a shape."""
        return not self.low == self.high == tuple(shape[1:])


def look(path: str | Path) -> Seen | None:
    """Look at the headers of some images; None if none can be read.

    Args:
        path: data.path: a folder of image files, or Parquet, Arrow or tar files or a folder of them.
    """
    from PIL import Image  # costs 40 ms

    seen = []
    for source in islice(_sources(Path(path).expanduser()), FILES):
        if len(seen) == LOOKED_AT:
            break
        try:
            with Image.open(source) as image:
                seen.append(_shape(image))
        except Exception:  # not an image: another one tells
            continue
    if not seen:
        return None
    channels, sizes = [c for c, _, _ in seen], [(height, width) for _, height, width in seen]
    kind = 4 if 2 * channels.count(4) > len(seen) else min(max(channels), 3)
    low, high = (choose(sizes, key=lambda size: (size[0] * size[1], size)) for choose in (min, max))
    return Seen(len(seen), kind, low, high, min(map(min, sizes)))


def advice(path: str) -> str:
    """Return a clause that says which data.shape the images at a path suggest; "" if none can be read."""
    if (seen := look(path)) is None:
        return ""
    shape = seen.shape()
    scaled = ", scaled and cropped" if seen.scales(shape) else ""
    return f"{seen}: pass data.shape={typed(shape)}{scaled}"


def typed(shape: list[int]) -> str:
    """Return a shape as it is typed: [3,64,64]."""
    return f"[{','.join(map(str, shape))}]"


def _shape(image: "Image.Image") -> tuple[int, int, int]:
    """Return channels, height and width of an image, upright."""
    clear = image.mode == "P" and "transparency" in image.info
    channels = 4 if clear else CHANNELS.get(image.mode.partition(";")[0], 3)
    lies = image.getexif().get(ORIENTATION, 1) in range(5, 9)
    return channels, *((image.width, image.height) if lies else (image.height, image.width))


def _sources(place: Path) -> Iterator[str | IO[bytes]]:
    """Yield some image files, or encoded images of Parquet and tar files."""
    if place.is_dir():
        below = (Path(folder, name) for folder, _, names in sorted(os.walk(place)) for name in sorted(names))
        found = [file for file in below if not unseen(file.relative_to(place).parts)]
        files = iter(random.Random(0).sample(found, min(len(found), FILES)))  # of all subfolders
    else:
        patterns = braces(place.name) if place.name else ()
        files = (file for pattern in patterns for file in sorted(place.parent.glob(pattern)))
    for file in files:
        if file.name.startswith("."):
            continue
        reader = READERS.get(file.suffix.lower())
        try:
            yield from islice(reader(file), LOOKED_AT) if reader else [str(file)]
        except Exception:  # a damaged file: the training names it
            continue


def _in_parquet(file: Path) -> Iterator[str | IO[bytes]]:
    from inkwash.data.columns import columns_of, holds_images, images_of
    from inkwash.data.parquet_files import open_parquet
    from inkwash.data.rendering import Rendering

    shard = open_parquet(file)
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


READERS = {
    ".parquet": _in_parquet, ".pq": _in_parquet, ".parq": _in_parquet, ".arrow": _in_parquet,
    ".tar": _in_tar, ".zip": _in_zip,
}  # fmt: skip

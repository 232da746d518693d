"""Find a data.shape by the headers of some images, without torch: for the command's own process."""

import io
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from inkwash.data.paths import find_files
from inkwash.data.unseen import unseen
from inkwash.data.walk import Walk
from inkwash.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Item = TypeVar("Item")

LOOKED_AT = 200
FILES = 20 * LOOKED_AT  # among which are images
ORIENTATION = 274  # of EXIF
CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 4, "RGBA": 4, "PA": 4}  # of Pillow's modes; others have 3
SIDES = (64, 32, 16)  # of what is trained on, if the images are larger
MULTIPLE = 4  # of height and width, which networks halve


class Wanted(NamedTuple):
    """The files and the images in them that a source reads.

    suffixes: of the files that it takes of a folder; () for image files.
    image_column, image: data.source.image_column and data.source.image.
    """

    suffixes: tuple[str, ...] = ()
    image_column: str | None = None
    image: str | None = None


ANYTHING = Wanted()


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


def look(path: str | Path, wanted: Wanted = ANYTHING) -> Seen | None:
    """Look at the headers of some images; None if none can be read.

    Args:
        path: data.path: a folder of image files, or Parquet, Arrow or tar files or a folder of them.
        wanted: what the source looks at.

    Raises:
        UserError: `wanted` has suffixes, and there are no such files.
    """
    from PIL import Image  # costs 40 ms

    seen = []
    for source in islice(_sources(Path(path).expanduser().absolute(), wanted), FILES):
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


def advice(path: str, wanted: Wanted = ANYTHING) -> str:
    """Return a clause that says which data.shape the images at a path suggest; "" if none can be read."""
    if (seen := look(path, wanted)) is None:
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


def _sources(place: Path, wanted: Wanted) -> Iterator[str | IO[bytes]]:
    """Yield some image files, or encoded images of Parquet and tar files."""
    if place.is_dir() and not wanted.suffixes:
        files = _some(sorted(Walk(place, {}).files))
    else:
        try:
            found = find_files(place, wanted.suffixes or ("",), "data.path")
        except UserError:
            if wanted.suffixes:
                raise
            return
        files = _some(found) if place.is_dir() else found
    for file in files:
        reader = READERS.get(file.suffix.lower()) or (READERS.get(wanted.suffixes[0]) if wanted.suffixes else None)
        try:
            yield from reader(file, wanted) if reader else [str(file)]
        except Exception:  # a damaged file: the training names it
            continue


def _some(files: Iterable[Item]) -> list[Item]:
    """Draw as many files as are looked at, of all subfolders."""
    files = [*files]
    return random.Random(0).sample(files, min(len(files), FILES))


def _in_parquet(file: Path, wanted: Wanted) -> Iterator[str | IO[bytes]]:
    from inkwash.data.columns import columns_of, holds_images, images_of
    from inkwash.data.parquet_files import open_parquet
    from inkwash.data.rendering import Rendering

    shard = open_parquet(file)
    schema = shard.schema_arrow
    names = [field.name for field in schema if holds_images(field.type)]
    if wanted.image_column is not None or not names:
        names = [columns_of(file, schema, wanted.image_column, None)[0]]
    for batch in islice(shard.iter_batches(16, columns=names), LOOKED_AT // 16 + 1):
        for column in batch.columns:  # whatever the range of arrays, they have the same shape
            for image in images_of(column, file.parent, Rendering(0, 65535)):
                yield io.BytesIO(image) if isinstance(image, bytes) else str(image)


def _in_tar(file: Path, wanted: Wanted) -> Iterator[IO[bytes]]:
    from inkwash.data.tar import content_of, members
    from inkwash.data.tar_samples import image_of, samples

    images = (image_of(sample, file, wanted.image) for sample in samples(members(file, {}), file))
    yield from (io.BytesIO(content_of(file, image)) for image in islice(filter(None, images), LOOKED_AT))


def _in_zip(file: Path, wanted: Wanted) -> Iterator[IO[bytes]]:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        for name in _some(name for name in archive.namelist() if not unseen(name.split("/"))):
            with archive.open(name) as member:
                yield member


READERS = {
    ".parquet": _in_parquet, ".pq": _in_parquet, ".parq": _in_parquet, ".arrow": _in_parquet,
    ".tar": _in_tar, ".zip": _in_zip,
}  # fmt: skip

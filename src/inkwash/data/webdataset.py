"""Source of tar files in the WebDataset format: a sample is a run of files with the same name up to the first dot."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.streamed import StreamedSource
from inkwash.errors import UserError

ROWS = 128  # images of a block: few enough to mix many blocks, enough for reads of about 100 kB
# Exceptions of tarfile for damaged files.
DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, KeyError)
EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff")


class WebDataset(StreamedSource):
    """Shards of samples: an image KEY.jpg (or .png, .webp, ...), its label in KEY.cls or KEY.json, in any order.

    Other files and samples without an image are ignored.

    Args:
        image: extension of the images; null for the only image of each sample, found by its extension.
        label: cls for files that hold a number; else the key of a number in .json files; null for no labels.
        heldout_path, heldout_fraction, resize, skip_corrupt, window, cache_dir: see StreamedSource.
        black, white, background: see Rendering.
    """

    pattern = "*.tar"

    def __init__(
        self,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        image: str | None = None,
        label: str | None = "cls",
        resize: bool = False,
        skip_corrupt: bool = False,
        window: int = 8192,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        super().__init__(
            heldout_path, heldout_fraction, resize, skip_corrupt, window, cache_dir, Rendering(black, white, background)
        )
        self.image, self.label = image, label

    def options(self) -> tuple[str | None, ...]:
        return self.image, self.label

    def scan(self, file: Path) -> Scanned:
        """Find offset, size and label of each image, from the headers and the labels' files."""
        found, names = [], []
        with _opened(file) as tar:
            for key, members in groupby(_members(tar, file), lambda member: _parts(member.name)[0]):
                sample = {_parts(member.name)[1]: member for member in members}
                if image := self._image_of(sample, f"{key} in {file}"):
                    found.append((self._label_of(tar, sample, f"{key} in {file}"), image.offset_data, image.size))
                    names.append(f"{image.name} {image.mtime}")
        images = np.array(found, dtype=np.int64).reshape(-1, 3)
        starts = np.arange(0, len(images), ROWS)
        rows = np.minimum(ROWS, len(images) - starts)
        sizes = [images[start : start + ROWS, 2].sum() for start in starts]
        # Names and times stand for the content of the images, of which a tar file holds no checksum.
        header = "\n".join([str(file.stat().st_size), *names]).encode(errors="surrogateescape")
        digest = hashlib.sha256(header + images.tobytes()).hexdigest()
        return Scanned(np.array([starts, rows, sizes], dtype=np.int64).T, images, digest)

    def shards(self, files: Sequence[Path], index: Index) -> "TarShards":
        return TarShards(files, index)

    def _image_of(self, sample: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo | None:
        images = [extension for extension in sample if extension in ((self.image,) if self.image else EXTENSIONS)]
        if len(images) > 1:
            raise UserError(f"{name} has several images, {images}: name the one to use with data.source.image=...")
        return sample[images[0]] if images else None

    def _label_of(self, tar: tarfile.TarFile, sample: dict[str, tarfile.TarInfo], name: str) -> int:
        if self.label is None or (member := sample.get("cls" if self.label == "cls" else "json")) is None:
            return -1
        text = tar.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
        try:
            return int(np.int64(int(text) if self.label == "cls" else _whole(json.loads(text)[self.label])))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            wanted = "a number" if self.label == "cls" else f"{self.label} with a number"
            raise UserError(
                f"the label of {name} is not {wanted}: set data.source.label=cls, to a key of the .json files, or to "
                "null to train without labels"
            ) from error


class TarShards(Shards):
    """Blocks of tar files with their index."""

    def read(self, block: int) -> list[bytes]:
        """Read the images of a block, which lie side by side, in one read, with the labels between them."""
        file, spans = self.file(block), self.index.images[self.firsts[block] : self.firsts[block + 1], 1:]
        begin, end = int(spans[0, 0]), int(spans[-1].sum())
        try:
            with open(file, "rb", buffering=0) as stream:
                content = os.pread(stream.fileno(), end - begin, begin)
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): fetch it again") from error
        if len(content) < end - begin:
            raise UserError(f"{file} was cut short after the job began: fetch it again")
        return [content[start - begin : start - begin + size] for start, size in spans.tolist()]

    def name(self, number: int) -> str:
        file, begin = self.file(self.block_of(number)), self.index.images[number, 1]
        with _opened(file) as tar:
            name = next((member.name for member in tar if member.offset_data == begin), f"the image at byte {begin}")
        return f"{name} in {file}"


def _opened(file: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(file, "r:")
    except DAMAGE as error:
        raise UserError(f"{file} cannot be read as a tar file without compression: unpack or fetch it again") from error


def _members(tar: tarfile.TarFile, file: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a shard up to its end mark, which is checked: tarfile takes damage for the end."""
    try:
        while (member := tar.next()) is not None:
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile keeps every one
            if member.size < 0:
                raise tarfile.ReadError("a negative size, which would make tarfile loop forever")
            if member.isfile():
                yield member
        tar.fileobj.seek(tar.offset)  # pyright: ignore[reportOptionalMemberAccess]
        mark = tar.fileobj.read(tarfile.BLOCKSIZE)  # pyright: ignore[reportOptionalMemberAccess]
    except DAMAGE as error:
        raise UserError(f"{file} is damaged or cut short: fetch it again") from error
    if mark != bytes(tarfile.BLOCKSIZE):
        raise UserError(f"{file} is damaged or cut short at byte {tar.offset}: fetch it again")


def _parts(name: str) -> tuple[str, str]:
    """Split a name into key and extension: a/b.seg.png -> a/b, seg.png."""
    last = name.rpartition("/")[2]
    extension = last.partition(".")[2]
    return name.removesuffix(last) + last.partition(".")[0], extension.lower()


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value

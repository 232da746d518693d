"""Source of tar files in the WebDataset format: a sample is a run of files with the same name up to the first dot."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkwash.data import tar
from inkwash.data.reading import patiently
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.streamed import StreamedSource
from inkwash.data.tar import Member
from inkwash.errors import UserError

ROWS = 128  # images of a block: few enough to mix many blocks, enough for reads of about 100 kB
EXTENSIONS = (
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff", "avif", "jp2", "tga", "qoi",
)  # fmt: skip
# Where label=cls, the default, looks: the first of these files that a sample has, else the first key of its .json file.
FILES = ("cls", "cls.txt", "class", "class.txt", "label", "label.txt")
KEYS = (
    "label", "class", "cls", "class_id", "label_id", "class_idx", "label_idx", "class_index", "target", "category_id",
    "category", "class_name", "label_name", "classname",
)  # fmt: skip


class Sample(NamedTuple):
    """Files with the same name up to the first dot, by the rest of their names in small letters."""

    key: str
    files: dict[str, Member]


class WebDataset(StreamedSource):
    """Shards of samples: an image KEY.jpg (or .png, .webp, ...), its label in KEY.cls or KEY.json, in any order.

    Other files and samples without an image are passed over. Files of the operating system and of hidden names are no
    part of a sample. The files of a sample must follow each other.

    Args:
        image: extension of the images, or several of which the first is taken ("jpg;png"); null for the only image of
            each sample, found by its extension.
        label: cls for files that hold a number or a name, cls, class or label with or without .txt, else for such a
            key of the .json files; an extension or a key of one's own; null for no labels.
        heldout_path, heldout_fraction, resize, skip_corrupt, window, cache_dir: see StreamedSource.
        black, white, background: see Rendering.
    """

    suffixes = (".tar",)

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
        return patiently(lambda: self._scan(file), str(file))

    def shards(self, files: Sequence[Path], index: Index) -> "TarShards":
        return TarShards(files, index)

    def _scan(self, file: Path) -> Scanned:
        found, names, labels, passed = [], [], _LabelsOf(self.label, file), {}
        seen: set[str] = set()
        for sample in _samples(tar.members(file, passed), file):
            image = self._image_of(sample, file)
            label = labels.of(sample, image is not None)
            if image is None and label is None:
                passed.setdefault("files without an image", []).extend(m.name for m in sample.files.values())
                continue
            if sample.key in seen:
                raise UserError(
                    f"the files of {sample.key} in {file} do not follow each other: pack it again in the order of "
                    f"their names, `tar --sort=name -cf {file.name} FOLDER`"
                )
            seen.add(sample.key)
            if image:
                found.append((-1 if label is None else label, image.offset, image.size))
                names.append(f"{image.stored} {image.mtime}")
        labels.check()
        return _scanned(file, np.array(found, dtype=np.int64).reshape(-1, 3), names)

    def _image_of(self, sample: Sample, file: Path) -> Member | None:
        """Return the image of a sample, None if it has none."""
        if self.image:
            wanted = self.image.lower().replace(" ", "").split(";")
            return next((sample.files[extension] for extension in wanted if extension in sample.files), None)
        images = [extension for extension in sample.files if extension in EXTENSIONS]
        longer = [extension for extension in sample.files if extension.rpartition(".")[2] in EXTENSIONS]
        if len(images or longer) > 1:
            shown = [sample.files[extension].name for extension in images or longer]
            raise UserError(
                f"{sample.key} in {file} has several images, {shown[:3]}, as a sample is all files of the same name up "
                "to the first dot: name the extension of the one to use with data.source.image=..."
            )
        return sample.files[(images or longer)[0]] if images or longer else None


class TarShards(Shards):
    """Blocks of tar files with their index."""

    def read(self, block: int) -> list[bytes]:
        """Read the images of a block, which lie side by side, in one read, with the labels between them."""
        return tar.read_spans(self.file(block), self.index.images[self.firsts[block] : self.firsts[block + 1], 1:])

    def name(self, number: int) -> str:
        file = self.file(self.block_of(number))
        return f"{tar.name_at(file, int(self.index.images[number, 1]))} in {file}"


class _LabelsOf:
    """Labels of the samples of a file.

    Args:
        wanted: data.source.label.
    """

    def __init__(self, wanted: str | None, file: Path):
        self.wanted, self.file = wanted, file
        self.files = FILES if wanted == "cls" else (wanted,) if wanted else ()
        self.keys = KEYS if wanted == "cls" else (wanted,) if wanted else ()
        self.unlabelled: list[str] = []  # images, by the key of their samples
        self.lonely: list[str] = []  # labels without an image

    def of(self, sample: Sample, has_image: bool) -> int | None:
        """Return the label of a sample, None if it has none."""
        name = next((name for name in self.files if name in sample.files), None)
        if name is not None:
            value = tar.content_of(self.file, sample.files[name]).decode(errors="replace")
        elif self.keys and has_image and "json" in sample.files:
            value = self._of_json(sample)
        else:
            value = None
        if has_image and value is None:
            self.unlabelled.append(sample.key)
        if not has_image and value is not None:
            self.lonely.append(sample.key)
        return None if value is None else self._number(value, sample)

    def check(self) -> None:
        """Raise UserError if there are labels without images and images without labels."""
        if self.lonely and self.unlabelled:
            raise UserError(
                f"{self.file} holds {len(self.lonely)} labels without an image, {self.lonely[0]} first, and "
                f"{len(self.unlabelled)} images without a label, {self.unlabelled[0]} first: the files of a sample need "
                "the same name up to the first dot, folders included, and must follow each other; or add "
                "data.source.label=null"
            )

    def _of_json(self, sample: Sample) -> object:
        text = tar.content_of(self.file, sample.files["json"])
        try:
            content = json.loads(text)
            if self.wanted == "cls":
                return next((content[key] for key in self.keys if key in content), None)
            return content[self.wanted]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if self.wanted == "cls":
                return None  # other notes
            raise self._error(sample) from error

    def _number(self, value: object, sample: Sample) -> int:
        try:
            return int(np.int64(_whole(value)))
        except (ValueError, TypeError, OverflowError) as error:
            raise self._error(sample) from error

    def _error(self, sample: Sample) -> UserError:
        wanted = "a number" if self.wanted == "cls" else f"{self.wanted} with a number"
        return UserError(
            f"the label of {sample.key} in {self.file} is not {wanted}: set data.source.label=cls, to a key of the "
            ".json files, or to null to train without labels"
        )


def _samples(members: Iterable[Member], file: Path) -> Iterable[Sample]:
    """Yield the samples: runs of files with the same key. Raises UserError if one has two files of a name."""
    for key, group in groupby(members, lambda member: _parts(member.name)[0]):
        files: dict[str, Member] = {}
        for member in group:
            if (extension := _parts(member.name)[1]) in files:
                raise UserError(f"{file} holds {member.name} twice: pack it again, `tar -cf`, not `tar -rf`")
            files[extension] = member
        yield Sample(key, files)


def _scanned(file: Path, images: np.ndarray, names: list[str]) -> Scanned:
    starts = np.arange(0, len(images), ROWS)
    rows = np.minimum(ROWS, len(images) - starts)
    sizes = [images[start : start + ROWS, 2].sum() for start in starts]
    # Names and times stand for the content of the images, of which a tar file holds no checksum.
    header = "\n".join([str(file.stat().st_size), *names]).encode(errors="surrogateescape")
    digest = hashlib.sha256(header + images.tobytes()).hexdigest()
    return Scanned(np.array([starts, rows, sizes], dtype=np.int64).T, images, digest)


def _parts(name: str) -> tuple[str, str]:
    """Split a name into key and extension: a/b.seg.png -> a/b, seg.png."""
    last = name.rpartition("/")[2]
    extension = last.partition(".")[2]
    return name.removesuffix(last) + last.partition(".")[0], extension.lower()


def _whole(value: object) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value

"""Source of tar files in the WebDataset format: a sample is a run of files with the same name up to the first dot."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkwash.data import tar
from inkwash.data.facts import PassedOver, note
from inkwash.data.labels import Classes
from inkwash.data.reading import patiently
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.splits import AUTO, mixed
from inkwash.data.streamed import StreamedSource
from inkwash.data.tar import Member
from inkwash.data.tar_labels import Labels
from inkwash.data.tar_samples import image_of, samples
from inkwash.errors import UserError

ROWS = 128  # images of a block: few enough to mix many blocks, enough for reads of about 100 kB


class WebDataset(StreamedSource):
    """Shards of samples: an image KEY.jpg (or .png, .webp, ...), its label in KEY.cls or KEY.json, in any order.

    Other files and samples without an image are passed over. Files of the operating system and of hidden names are no
    part of a sample. The files of a sample must follow each other.

    Args:
        image: extension of the images, or several of which the first is taken ("jpg;png"); null for the only image of
            each sample, found by its extension.
        label: cls for files that hold a number or a name, cls, class or label with or without .txt, else for such a
            key of the .json files; an extension or a key of one's own; null for no labels.
        heldout_path, heldout_fraction, splits, stratified, resize, skip_corrupt, window, cache_dir: see
            StreamedSource.
        black, white, background: see Rendering.
    """

    suffixes = (".tar",)
    without_labels = "add data.source.label=null to use no labels"

    def __init__(
        self,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        splits: str = AUTO,
        stratified: bool = True,
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
            heldout_path, heldout_fraction, splits, stratified, resize, skip_corrupt, window, cache_dir,
            Rendering(black, white, background),
        )  # fmt: skip
        self.image, self.label = image, label

    def options(self) -> tuple[str | None, ...]:
        return self.image, self.label

    def scan(self, file: Path, told: tuple[()]) -> Scanned:
        """Find offset, size and label of each image, from the headers and the labels' files."""
        return patiently(lambda: self._scan(file), str(file))

    def shards(self, files: Sequence[Path], index: Index, told: tuple[()]) -> "TarShards":
        return TarShards(files, index)

    def _scan(self, file: Path) -> Scanned:
        passed_over: PassedOver = {}
        labels, seen = Labels(self.label, file), set()
        images: list[Member] = []
        for sample in samples(tar.members(file, passed_over), file):
            image = image_of(sample, file, self.image)
            if not labels.add(sample, image is not None) and image is None:
                for member in sample.files.values():
                    note(passed_over, "without an image", member.name)
                continue
            if sample.key in seen:
                raise UserError(
                    f"the files of {sample.key} in {file} do not follow each other: pack it again in the order of "
                    f"their names, `tar --sort=name -cf {file.name} FOLDER`"
                )
            seen.add(sample.key)
            if image:
                images.append(image)
                for extension in labels.unread(sample, image):
                    note(passed_over, "files beside images that are not read", sample.files[extension].name)
        for key in labels.lonely:
            note(passed_over, "labels without an image", key)
        numbers, classes = labels.numbered()
        scanned = _scanned(file, images, numbers, classes, passed_over)
        return scanned._replace(
            suspicious=_suspicions(images, labelled=self.label is None or bool((numbers >= 0).any()))
        )


class TarShards(Shards):
    """Blocks of tar files with their index."""

    def read(self, block: int) -> list[bytes]:
        """Read the images of a block, which lie side by side, in one read, with the labels between them."""
        return tar.read_spans(self.file(block), self.index.images[self.firsts[block] : self.firsts[block + 1], 1:])

    def name(self, number: int) -> str:
        file = self.file(self.block_of(number))
        return f"{tar.name_at(file, int(self.index.images[number, 1]))} in {file}"


def _suspicions(images: Sequence[Member], labelled: bool) -> tuple[str, ...]:
    """Return sentences for the report about the folders that images of a tar file lie in."""
    folders = dict.fromkeys(image.name.rpartition("/")[0] for image in images)
    suspicious = mixed(folders)
    if len(folders) > 1 and not labelled:
        shown = " and ".join([*folders][:2]) + (" and more" if len(folders) > 2 else "")
        suspicious += (
            f"images lie in the folders {shown} of a tar file, and have no labels: if the folders are classes, unpack "
            "it, and use data=folder",
        )
    return suspicious


def _scanned(
    file: Path, images: list[Member], labels: np.ndarray, classes: Classes, passed_over: PassedOver
) -> Scanned:
    places = np.array([(image.offset, image.size) for image in images], dtype=np.int64).reshape(-1, 2)
    starts = np.arange(0, len(images), ROWS)
    rows = np.minimum(ROWS, len(images) - starts)
    sizes = [places[start : start + ROWS, 1].sum() for start in starts]
    entries = np.column_stack([labels, places])
    # Names and times stand for the content of the images, of which a tar file holds no checksum.
    names = [f"{image.stored} {image.mtime}" for image in images]
    header = "\n".join([str(file.stat().st_size), *names]).encode(errors="surrogateescape")
    digest = hashlib.sha256(header + entries.tobytes()).hexdigest()
    blocks = np.array([starts, rows, sizes], dtype=np.int64).T
    return Scanned(blocks, entries, digest, classes, passed_over)

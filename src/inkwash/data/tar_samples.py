"""Samples of a WebDataset tar file: runs of files with the same key, and the image among them."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from inkwash.data.tar import Member
from inkwash.errors import UserError

EXTENSIONS = (
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff", "avif", "jp2", "tga", "qoi",
)  # fmt: skip


class Sample(NamedTuple):
    """Files with the same name up to the first dot, by the rest of their names in small letters."""

    key: str
    files: dict[str, Member]


def samples(members: Iterable[Member], file: Path) -> Iterable[Sample]:
    """Yield the samples: runs of files with the same key. Raises UserError if one has two files of a name."""
    for key, group in groupby(members, lambda member: _parts(member.name)[0]):
        files: dict[str, Member] = {}
        for member in group:
            if (extension := _parts(member.name)[1]) in files:
                raise UserError(f"{file} holds {member.name} twice: pack it again, `tar -cf`, not `tar -rf`")
            files[extension] = member
        yield Sample(key, files)


def image_of(sample: Sample, file: Path, image: str | None) -> Member | None:
    """Return the image of a sample, None if it has none.

    Args:
        file: the tar file, for errors.
        image: data.source.image.

    Raises:
        UserError: there are several, and `image` names none of them.
    """
    if image:
        wanted = image.lower().replace(" ", "").split(";")
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


def _parts(name: str) -> tuple[str, str]:
    """Split a name into key and extension: a/b.seg.png -> a/b, seg.png."""
    last = name.rpartition("/")[2]
    extension = last.partition(".")[2]
    return name.removesuffix(last) + last.partition(".")[0], extension.lower()

"""Images that a user names for editing, without splits and without a cache."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from inkwash.data.decode import decode
from inkwash.data.encoded import Entry
from inkwash.data.images import Images
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_files import opened
from inkwash.errors import UserError


def read_images(name: str, shape: tuple[int, int, int], limit: int) -> Images:
    """Read the first images of a file or folder, scaled (bicubic, antialiased) to cover H x W, the centre cropped.

    Args:
        name: an image file, a folder of them with its subfolders (in alphabetical order, without hidden ones), or a
            Parquet file, with its column `label` if it has one.
        shape: (C, H, W).
        limit: largest number of images.

    Raises:
        UserError: there are no images, or one cannot be read or has other channels.
    """
    path = Path(name).expanduser()
    if path.suffix == ".parquet" and path.is_file():
        entries = _rows(path)
    elif path.is_file():
        entries = iter([Entry(name, path, -1)])
    elif path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path)))
        entries = (Entry(str(file), file, -1) for file in files)
    else:
        raise UserError(f"task.images={name} does not exist: give an image file, a folder of images or a Parquet file")
    chosen = list(islice(entries, limit))
    if not chosen:
        raise UserError(f"task.images={name} holds no images: give an image file, a folder of images or a Parquet file")
    images = torch.stack([decode(entry.encoded, shape, True, entry.name) for entry in chosen])
    return Images(images, torch.tensor([entry.label for entry in chosen]))


def _rows(path: Path) -> Iterator[Entry]:
    with opened(path) as shard:
        labelled = "label" in shard.schema_arrow.names
    source = Parquet(heldout_fraction=0, label_column="label" if labelled else None)
    return iter(source.find("train", path).stream)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)

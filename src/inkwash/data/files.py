"""Images that a user names for editing, without splits and without a cache."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from inkwash.data.decode import decode
from inkwash.data.encoded import Entry
from inkwash.data.labels import Classes, as_spelled
from inkwash.data.opening import size_of
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_files import opened
from inkwash.data.rendering import AS_IT_IS, Rendering
from inkwash.data.unseen import unseen
from inkwash.errors import UserError


class NamedImages:
    """Encoded images, each of which is decoded when it is asked for: in memory are no more than are used at a time.

    Args:
        entries: the images and their labels.
        shape: (C, H, W), to which they are scaled (bicubic, antialiased) and cropped.
        rendering: range and background of the run's own images; the range is for images that it fits.

    Raises:
        UserError: one cannot be read or has other channels; each is decoded once to find that out.
    """

    def __init__(self, entries: Sequence[Entry], shape: tuple[int, int, int], rendering: Rendering = AS_IT_IS):
        self.entries, self.shape, self.rendering = entries, shape, rendering
        self.labels = torch.tensor([entry.label for entry in entries])
        for i in range(len(entries)):
            self[i]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, i: int) -> Tensor:
        """Return image i, uint8 (C, H, W)."""
        name, encoded, _ = self.entries[i]
        try:
            return decode(encoded, self.shape, True, name, self.rendering)
        except UserError:  # images that a run has drawn have 8 bits, whatever its own have
            return decode(encoded, self.shape, True, name, replace(self.rendering, black=None, white=None))

    def sizes(self) -> list[tuple[int, int]]:
        """Return height and width of each image as it is in its file."""
        return [size_of(encoded) for _, encoded, _ in self.entries]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return uint8 (n, C, H, W) and labels, int64 (n,)."""
        return torch.stack([self[i] for i in indices]), self.labels[indices]


def read_images(
    name: str,
    shape: tuple[int, int, int],
    limit: int,
    classes: Sequence[str] = (),
    labelled: bool = True,
    rendering: Rendering = AS_IT_IS,
) -> NamedImages:
    """Find the first images of a file or folder, to be scaled to cover H x W and cropped to their centre.

    Args:
        name: an image file, a folder of them with its subfolders (in alphabetical order, without hidden ones), or a
            Parquet file, with its column `label` if it has one.
        shape: (C, H, W).
        limit: largest number of images.
        classes: names of the labels 0, 1, ...; those of a Parquet file are labels by their names, and so is an image
            in a subfolder called like a class.
        labelled: read labels at all.
        rendering: see NamedImages.

    Raises:
        UserError: there are no images, or one cannot be read or has other channels, or a class without a label.
    """
    path = Path(name).expanduser()
    if path.suffix == ".parquet" and path.is_file():
        entries = _rows(name, path, classes, labelled, rendering)
    elif path.is_file():
        entries = iter([Entry(name, path, -1)])
    elif path.is_dir():
        files = (f for f in sorted(path.rglob("*")) if f.is_file() and not unseen(f.relative_to(path).parts))
        entries = _below(path, files, classes)
    else:
        raise UserError(f"task.images={name} does not exist: give an image file, a folder of images or a Parquet file")
    chosen = list(islice(entries, limit))
    if not chosen:
        raise UserError(f"task.images={name} holds no images: give an image file, a folder of images or a Parquet file")
    return NamedImages(chosen, shape, rendering)


def _below(path: Path, files: Iterable[Path], classes: Sequence[str]) -> Iterator[Entry]:
    """Yield image files with the label that the folder below `path` has among `classes`."""
    for file in files:
        (of,) = as_spelled(Classes((file.relative_to(path).parts[0],)), classes).names
        yield Entry(str(file), file, classes.index(of) if of in classes else -1)


def _rows(name: str, path: Path, classes: Sequence[str], labelled: bool, rendering: Rendering) -> Iterator[Entry]:
    """Yield the images of a Parquet file with labels by `classes`."""
    with opened(path) as shard:
        labelled = labelled and "label" in shard.schema_arrow.names
    label = "label" if labelled else None
    source = Parquet(heldout_fraction=0, label_column=label, black=rendering.black, white=rendering.white)
    entries = source.find("train", path)
    names = as_spelled(entries.facts.classes, classes).names
    if names and not classes:
        raise UserError(
            f"task.images={name} has classes with names ({_some(names)}), and the run's have none: pass label=0, for "
            "one, or a file with the run's numbers"
        )
    if missing := [of for of in names if of not in classes]:
        raise UserError(
            f"task.images={name}: {_some(missing)} is not a class of the run, whose are {_some(classes)}: pass "
            "label=NAME for all images, or leave out those rows"
        )
    numbers = [*(classes.index(of) for of in names), -1]
    for entry in entries.stream:
        yield entry._replace(label=numbers[entry.label]) if names else entry


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

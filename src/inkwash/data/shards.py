"""Shards: files of many encoded images in blocks that are read at once, and their memory-mapped index."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkwash.data.facts import PassedOver, Tally, merged
from inkwash.data.labels import Classes, Part, check_alike, joined, recoded
from inkwash.files import NAMES


class Scanned(NamedTuple):
    """Entries of a file in the index.

    blocks: int64 (n, 3): the source's number of the block, its number of images, their bytes.
    images: int64 (images, k): the label, -1 if there is none, and k - 1 values that the source needs.
    digest: a hash of the file that is computed without reading the images.
    classes: names of the labels.
    passed_over: members that are not used.
    suspicious: sentences about what may be a mistake.
    """

    blocks: np.ndarray
    images: np.ndarray
    digest: str
    classes: Classes = Classes()
    passed_over: PassedOver = {}  # noqa: RUF012 - never changed
    suspicious: tuple[str, ...] = ()


class Index:
    """Positions and labels of the images in some files.

    Attributes:
        blocks: int64 (n, 4): number of the file, the source's number of the block, number of its first image, bytes.
        images: int64 (N, k), a memory map: see Scanned.
        digests: hashes of the files.
        classes: names of the labels, of all files.
        passed_over: what is not used in them.
        suspicious: sentences about the first file that looks like a mistake.
        others: parts of one file each that are of another kind than the whole: the first one whose labels are numbers
            beside names, and the first one whose names have no order of their own beside others that have.
    """

    def __init__(self, directory: Path):
        self.blocks = np.load(directory / "blocks.npy")
        self.digests = (directory / "digests").read_text().split()
        columns = int((directory / "columns").read_text())
        self.images = np.memmap(directory / "images", np.int64, "r").reshape(-1, columns)
        found = json.loads((directory / "found.json").read_text("utf-8"))
        self.classes = Classes(tuple(found["classes"]), found["fixed"])
        self.passed_over = {reason: Tally(*tally) for reason, tally in found["passed_over"].items()}
        self.suspicious = tuple(found["suspicious"])
        self.others = [(number, Classes(tuple(names))) for number, names in found.get("others", ())]

    def parts(self, files: Sequence[Path]) -> list[Part]:
        """Return all files as one part of a set, named by the first one that has labels, and the `others`."""
        labelled = self.images[:, 0] >= 0
        first = int(labelled.argmax())
        block = int(np.searchsorted(self.blocks[:, 2], first, side="right")) - 1
        whole = Part(str(files[self.blocks[block, 0]]), bool(labelled[first]), self.classes)
        return [whole, *(Part(str(files[number]), True, classes) for number, classes in self.others)]

    @staticmethod
    def write(directory: Path, places: Sequence[Path], files: Iterable[Scanned], without_labels: str) -> int:
        """Write the entries of each file, one after another; return the number of images.

        Args:
            places: of the files.
            without_labels: see StreamedSource.

        Raises:
            UserError: some files have labels that are numbers, and others labels that are names.
        """
        blocks, digests, total, columns = [], [], 0, 1
        parts: list[tuple[int, Classes]] = []  # the first image of each file, and its classes
        kinds: list[Part] = []
        tallies: list[PassedOver] = []
        suspicious: tuple[str, ...] = ()
        with open(directory / "images", "wb") as output:
            for number, file in enumerate(files):
                output.write(file.images.tobytes())
                digests.append(file.digest)
                tallies.append(file.passed_over)
                suspicious = suspicious or file.suspicious
                parts.append((total, file.classes))
                kinds.append(Part(str(places[number]), bool((file.images[:, 0] >= 0).any()), file.classes))
                for part, rows, size in file.blocks:
                    blocks.append((number, part, total, size))
                    total += rows
                columns = file.images.shape[1]
        np.save(directory / "blocks.npy", np.array(blocks, dtype=np.int64).reshape(-1, 4))
        (directory / "digests").write_text("\n".join(digests))
        (directory / "columns").write_text(str(columns))
        classes = joined(part for _, part in parts)
        check_alike(kinds, classes, without_labels)
        _recode(directory / "images", columns, parts, classes)
        passed_over = {reason: (tally.count, tally.first) for reason, tally in merged(tallies).items()}
        found = {"classes": classes.names, "fixed": classes.fixed, "passed_over": passed_over}
        found["suspicious"] = suspicious
        found["others"] = _others(kinds, classes)
        (directory / "found.json").write_text(json.dumps(found), "utf-8", NAMES)
        return total


def _others(parts: Sequence[Part], classes: Classes) -> list[tuple[int, Sequence[str]]]:
    """Return the numbers of the files of Index.others, and the first of their names."""
    own = [(number, part.classes) for number, part in enumerate(parts) if part.labelled]
    numbers = [(number, ()) for number, found in own if classes.names and not found.names]
    names = [(number, found.names[:1]) for number, found in own if classes.fixed and found.names and not found.fixed]
    return [*numbers[:1], *names[:1]]


def _recode(path: Path, columns: int, parts: Sequence[tuple[int, Classes]], classes: Classes) -> None:
    """Change the labels of each file into those of the classes of all."""
    if all(part.names == classes.names[: len(part.names)] for _, part in parts):
        return
    mapped = np.memmap(path, np.int64, "r+")
    images = mapped.reshape(-1, columns)
    ends = [*(first for first, _ in parts[1:]), len(images)]
    for (first, part), end in zip(parts, ends, strict=True):
        images[first:end, 0] = recoded(images[first:end, 0], part, classes)
    mapped.flush()


class Shards(ABC):
    """The encoded images of some files. An image has a number among all of them, and a row in its block.

    Attributes:
        files: their paths.
        index: positions of the images in them.
        firsts: int64 (blocks + 1,), the number of each block's first image, and at the end how many there are.
        sizes: int64 (blocks,), bytes of a block's images.
        labels: int64 (N,), -1 if an image has none.
    """

    def __init__(self, files: Sequence[Path], index: Index):
        self.files, self.index = files, index
        self.firsts = np.append(index.blocks[:, 2], len(index.images))
        self.sizes, self.labels = index.blocks[:, 3], index.images[:, 0]

    def relabel(self, classes: Classes) -> None:
        """Use the labels of classes that have those of the index among them."""
        self.labels = recoded(self.labels, self.index.classes, classes)

    def block_of(self, number: int) -> int:
        return int(np.searchsorted(self.firsts, number, side="right")) - 1

    def file(self, block: int) -> Path:
        return self.files[self.index.blocks[block, 0]]

    @abstractmethod
    def read(self, block: int) -> Sequence[bytes]:
        """Read the encoded images of a block. Raises UserError if its file is damaged, missing or was replaced."""

    @abstractmethod
    def name(self, number: int) -> str:
        """Return an image's name for errors; it may take a while."""

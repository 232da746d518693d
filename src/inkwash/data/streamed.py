"""Base class of sources that stream shards: the split, and an index of the files that is made once."""

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inkwash.data.caches import ensure, locked, undamaged
from inkwash.data.encoded import DECODER
from inkwash.data.facts import Facts, Tally
from inkwash.data.labels import Classes, check_alike, joined, recoded
from inkwash.data.paths import absolute, given
from inkwash.data.reading import version_of
from inkwash.data.rendering import Rendering
from inkwash.data.shards import Index, Scanned, Shards
from inkwash.data.splits import AUTO, Division, check_splits, divide_files, names_below
from inkwash.errors import UserError
from inkwash.files import replacing
from inkwash.reports.progress_bar import progress_bar

if TYPE_CHECKING:
    from inkwash.data.stream import Stream

FORMAT = 4  # of an index: raise it if its content changes
log = logging.getLogger(__name__)


class StreamedSource(ABC):
    """Base class of sources that read images from shards while they are used; a subclass knows the format.

    Args:
        heldout_path: file, folder or glob of the held-out images; null for the test files in `data.path`, told by
            their names, or a part of it.
        heldout_fraction: fraction of the images held out if no files are, the same ones for every seed; 0 for none.
        splits: auto tells files for training and testing apart by their names (splits.py); none takes all as one set.
        stratified: hold out the same fraction of each class; false draws from all images together.
        resize: scale images to cover H x W and crop the centre; if false, every image must be H x W.
        skip_corrupt: replace an image that cannot be read by another one, instead of stopping.
        window: number of images that are mixed with each other, in whole blocks, at least four of them. Every process
            that reads holds their encoded bytes in memory.
        cache_dir: folder for the index, 40 bytes an image at most. Anything in it may be deleted.
        rendering: what black, white and background say (rendering.py).
    """

    finds_labels = True  # `labels`, by which the command finds data.num_classes
    suffixes: tuple[str, ...]  # of the files in a folder
    without_labels: str  # how to use no labels, for errors

    def __init__(
        self,
        heldout_path: str | None,
        heldout_fraction: float,
        splits: str,
        stratified: bool,
        resize: bool,
        skip_corrupt: bool,
        window: int,
        cache_dir: str,
        rendering: Rendering,
    ):
        if window < 1:
            raise UserError(f"data.source.window={window} must be at least 1")
        check_splits(splits, heldout_fraction)
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.splits, self.stratified = splits, stratified
        self.resize, self.skip_corrupt, self.window = resize, skip_corrupt, window
        self.cache_dir = Path(cache_dir).expanduser()
        self.rendering = rendering

    @abstractmethod
    def options(self) -> tuple[str | None, ...]:
        """Return the arguments that the index depends on."""

    def told_by(self, first: Path) -> tuple[Any, ...]:
        """Return what the first training file tells of how to read all of them, () for nothing.

        Raises:
            UserError: it is damaged or lacks what `options` name.
        """
        return ()

    @abstractmethod
    def scan(self, file: Path, told: tuple[Any, ...]) -> Scanned:
        """Find the images of a file. Raises UserError if it is damaged or lacks what `options` name."""

    @abstractmethod
    def shards(self, files: Sequence[Path], index: Index, told: tuple[Any, ...]) -> Shards:
        """Return the reader of the files."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> "Stream":
        """Load the images of a split (see `Source.load`)."""
        from inkwash.data.stream import Stream  # not at the top: it imports torch

        division = divide_files(given(path), self.heldout_path, self.suffixes, self.splits)
        files = division.heldout or division.train if split == "heldout" else division.train
        told = self.told_by(division.train[0])
        directory = self._indexed(files, division.origins[split], told)
        with undamaged(directory):
            index = Index(directory)
            chosen = self._chosen(directory, split, index, whole=division.heldout is not None)
            if len(chosen):
                index.images[chosen[-1]]  # raises an error now if the file is cut short
        shards, facts = self.shards(files, index, told), self._facts(split, division, files, index, len(chosen), told)
        shards.relabel(facts.classes)
        part = ("all",) if division.heldout is not None else (split, str(self.heldout_fraction), self.stratified)
        key = [DECODER, [file.name for file in files], index.digests, self.options(), *part, shape, self.resize]
        fingerprint = _hash([*key, self.rendering, facts.classes])
        stream = Stream(
            shards, chosen, shape, self.resize, self.skip_corrupt, self.window, fingerprint, self.rendering, facts
        )
        if split == "train":
            log.info(
                "stream       %s images in %d blocks of %d files; each reading process holds up to %d blocks, %.1f MB",
                f"{len(stream):,}", len(index.blocks), len(files), stream.capacity, stream.memory / 1e6,
            )  # fmt: skip
        return stream

    def labels(self, path: str | None) -> tuple[np.ndarray, Classes]:
        """Return the labels of the images of both splits, and the names of the classes, without reading an image.

        The command calls it before there is a run, for data.num_classes=auto (commands/auto_data.py); no torch.

        Returns:
            int64 (N,), -1 where an image has none.

        Raises:
            NoClassesError: there are no labels, or none that are numbers or names of classes.
            UserError: the files cannot be read.
        """
        division = divide_files(given(path), self.heldout_path, self.suffixes, self.splits)
        sets = [(division.train, "train"), *([(division.heldout, "heldout")] if division.heldout else [])]
        found, told = [], self.told_by(division.train[0])
        for files, split in sets:
            directory = self._indexed(files, division.origins[split], told)
            with undamaged(directory):
                index = Index(directory)
                found.append((index.parts(files), index.classes, np.array(index.images[:, 0])))
        classes = joined(own for _, own, _ in found)
        check_alike([part for parts, _, _ in found for part in parts], classes, self.without_labels)
        return np.concatenate([recoded(labels, own, classes) for _, own, labels in found]), classes

    def _facts(
        self, split: str, division: Division, files: Sequence[Path], index: Index, chosen: int, told: tuple[Any, ...]
    ) -> Facts:
        """Return what was found; the classes are those of both splits."""
        classes = index.classes
        if division.heldout is not None and (index.images[:, 0] >= 0).any():
            theirs, other = (division.train, "train") if split == "heldout" else (division.heldout, "heldout")
            directory = self._indexed(theirs, division.origins[other], told)
            with undamaged(directory):
                more = Index(directory)
                sets = [(index.classes, index.parts(files)), (more.classes, more.parts(theirs))]
            if split == "heldout":
                sets.reverse()
            classes = joined(own for own, _ in sets)
            check_alike([part for _, parts in sets for part in parts], classes, self.without_labels)
        facts = division.facts(split, classes, chosen, len(index.images), names_below(files), index.passed_over)
        suspicious = (*facts.suspicious, *index.suspicious)
        if division.heldout is None and self.splits == AUTO:
            suspicious += self.suspicions(files)
        return replace(facts, suspicious=suspicious)

    def suspicions(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Return sentences for the report about files that are taken as one set."""
        return ()

    def _indexed(self, files: Sequence[Path], place: str, told: tuple[Any, ...]) -> Path:
        """Return the folder of the files' index, which the first rank or job makes while the others wait."""
        key = [FORMAT, type(self).__name__, [version_of(file) for file in files], self.options(), *told]
        directory = self.cache_dir / f"index-{_hash(key)}"

        def fill(partial: Path) -> None:
            bar = progress_bar(files, desc="indexing the files", unit="files")
            if not Index.write(partial, files, (self.scan(file, told) for file in bar), self.without_labels):
                unused = json.loads((partial / "found.json").read_text("utf-8"))["passed_over"]
                seen = "; ".join(f"{reason}: {Tally(*tally)}" for reason, tally in unused.items())
                raise UserError(f"{place} holds no images in its {len(files)} files: give others ({seen or 'empty'})")

        ensure(directory, fill)
        return directory

    def _chosen(self, directory: Path, split: str, index: Index, whole: bool) -> np.ndarray:
        """Return the numbers of the split's images, int64, mapped: the same split as that of a cached source."""
        drawn = f"{split}-{self.heldout_fraction}{'-stratified' if self.stratified else ''}.npy"
        path = directory / ("all.npy" if whole else drawn)
        if not path.exists():
            from inkwash.data.heldout_draw import rows_of  # not at the top: it imports torch

            labels = np.array(index.images[:, 0])
            part = rows_of(split, labels, self.heldout_fraction, self.stratified).numpy()
            rows = np.arange(len(labels)) if whole else np.flatnonzero(part)
            if not os.access(directory, os.W_OK):  # another user's, or on a read-only disk
                return rows
            with locked(directory), replacing(path) as partial, open(partial, "wb") as file:
                np.save(file, rows)
        return np.load(path, mmap_mode="r")


def _hash(key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]

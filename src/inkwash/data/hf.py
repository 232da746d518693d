"""Source of data sets of Hugging Face: folders of save_to_disk, folders of Parquet files, and names on the hub."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inkwash.data.arrow_files import SUFFIX
from inkwash.data.caches import ensure
from inkwash.data.labels import Classes
from inkwash.data.parquet import SUFFIXES, Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.paths import find_files, given
from inkwash.data.splits import AUTO, split_of
from inkwash.errors import UserError
from inkwash.reach import reachable

if TYPE_CHECKING:
    from inkwash.images import ImageSplit

ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")  # OWNER/NAME, or NAME of the oldest sets
HUB = "https://huggingface.co"


class HuggingFace:
    """A data set of Hugging Face, read as `Parquet` reads its files, or as `ParquetStream` does.

    `data.path` is a folder that save_to_disk of `datasets` has written, of a Dataset or a DatasetDict; a folder of
    Parquet files; or OWNER/NAME on the hub, which is downloaded once, to a folder of save_to_disk in cache_dir: only
    this needs the package `datasets`, and a network. Delete that folder to download a newer version.

    Args:
        config: of a set that has several: its subfolder, or its name on the hub.
        revision: branch, tag or commit on the hub; null for the newest.
        streaming: false decodes each image once, into a cache; true reads them while they are used, which suits sets
            larger than memory.
        window: see StreamedSource; for streaming.
        heldout_path, heldout_fraction, splits, stratified, image_column, label_column, resize, skip_corrupt, cache_dir:
            see Parquet.
        black, white, background: see Rendering.
    """

    finds_labels = True  # `labels`, by which the command finds data.num_classes

    def __init__(
        self,
        config: str | None = None,
        revision: str | None = None,
        streaming: bool = False,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        splits: str = AUTO,
        stratified: bool = True,
        image_column: str | None = None,
        label_column: str | None = "label",
        resize: bool = False,
        skip_corrupt: bool = False,
        window: int = 8192,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        self.config, self.revision, self.label_column = config, revision, label_column
        self.cache_dir = Path(cache_dir).expanduser()
        common = (heldout_path, heldout_fraction, splits, stratified, image_column, label_column, resize, skip_corrupt)
        more = (cache_dir, black, white, background)
        self.reader = ParquetStream(*common, window, *more) if streaming else Parquet(*common, *more)
        self.suffixes = self.reader.suffixes = (*SUFFIXES, SUFFIX)

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> "ImageSplit":
        """Load the images of a split (see `Source.load`)."""
        return self.reader.load(split, shape, str(self.place(path)))

    def labels(self, path: str | None) -> tuple[np.ndarray, Classes]:
        """Return the labels of both splits: see StreamedSource.labels."""
        return self.reader.labels(str(self.place(path)))

    def place(self, path: str | None) -> Path:
        """Return the folder, file or pattern of the data set's files, after downloading one of the hub.

        Raises:
            UserError: there is no such data set on the hub, or no way to ask for it.
        """
        here, name = given(path), str(path)
        if not here.exists() and ON_THE_HUB.fullmatch(name):
            key = repr((name, self.config, self.revision))
            here = self.cache_dir / f"hf-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
            ensure(here, lambda partial: download(name, self.config, self.revision, partial))
        elif self.config is not None:
            here = here / self.config
            if not here.is_dir():
                raise UserError(f"data.source.config={self.config}, but there is no folder {here}: correct it")
        elif here.is_dir() and self.reader.splits == AUTO:
            self._refuse_several(here)
        return here

    def _refuse_several(self, folder: Path) -> None:
        """Raise UserError if subfolders have files to train on each: they are configurations, which share images."""
        found: dict[str, None] = {}
        for file in find_files(folder, self.reader.suffixes, "data.path"):
            first, *rest = file.relative_to(folder).parts
            if rest and split_of(first) is None and "=" not in first and "train" in map(split_of, rest):
                found[first] = None
        if len(found) > 1:
            raise UserError(
                f"data.path={folder} has the configurations {', '.join(found)}, which may hold the same images: choose "
                f"one with data.source.config={next(iter(found))}, or take all with data.source.splits=none"
            )


def download(name: str, config: str | None, revision: str | None, folder: Path) -> None:
    """Write a data set of the hub into a folder, as save_to_disk does.

    Raises:
        UserError: the package `datasets` is missing, the hub cannot be reached, or it has no such data set.
    """
    what = f"data.path={name} is no file or folder here, and as the name of a data set on the Hugging Face hub"
    server = os.environ.get("HF_ENDPOINT") or HUB
    if not reachable(server):  # `datasets` would try for minutes; what was downloaded before is found without a network
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"{what} it needs the package datasets: pip install datasets") from error
    try:
        found = datasets.load_dataset(name, config, revision=revision)
        found.save_to_disk(str(folder))
    except Exception as error:  # of the hub, of networks, of what a set's files may be: there is no common class
        if os.environ.get("HF_HUB_OFFLINE"):
            raise UserError(
                f"{what} it needs a network, but {server} cannot be reached: check the path, or fetch the set where "
                "there is a network (save_to_disk) and give its folder"
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{what} it cannot be loaded ({reason}): check the name, config and revision") from error

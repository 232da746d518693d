"""Source of the image files in a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from inkwash.data.encoded import EncodedSource, Entries, Entry, rows_of, version_of
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError


class Folder(EncodedSource):
    """All files below `data.path` without hidden ones; every one must be an image unless skip_corrupt.

    The first level of subfolders, in alphabetical order, makes classes 0, 1, ...; files outside them have no label.

    Args:
        heldout_fraction: fraction of the files that is held out, the same ones for every seed.
        resize, skip_corrupt, cache_dir: see EncodedSource.
        black, white, background: see Rendering.
    """

    def __init__(
        self,
        heldout_fraction: float = 0.1,
        resize: bool = True,
        skip_corrupt: bool = False,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        super().__init__(resize, skip_corrupt, cache_dir, Rendering(black, white, background))
        self.heldout_fraction = heldout_fraction

    def find(self, split: str, path: Path) -> Entries:
        """Find the files of a split."""
        if not path.is_dir():
            raise UserError(f"data.path={path} is not a folder: give one that holds the images")
        files = _visible_files(path)
        if not files:
            raise UserError(f"data.path={path} holds no files: give a folder of images")
        wanted = rows_of(split, len(files), self.heldout_fraction)
        classes = sorted({_class_of(file, path) for file in files} - {""})
        labels = {name: label for label, name in enumerate(classes)}
        chosen = [file for file, take in zip(files, wanted.tolist(), strict=True) if take]
        stream = (Entry(str(file), file, labels.get(_class_of(file, path), -1)) for file in chosen)
        return Entries((split, len(chosen), [version_of(file) for file in files]), len(chosen), stream)


def _visible_files(path: Path) -> list[Path]:
    """Return the files, sorted so that the split does not depend on the file system; links to folders are followed."""
    return sorted(
        Path(folder, name)
        for folder, _, names in os.walk(path, followlinks=True)
        for name in names
        if not any(part.startswith(".") for part in Path(folder, name).relative_to(path).parts)
    )


def _class_of(file: Path, path: Path) -> str:
    """Return the first-level subfolder of a file, "" if it lies in none."""
    parts = file.relative_to(path).parts
    return parts[0] if len(parts) > 1 else ""

"""List the image files of a folder."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from inkwash.data.archive import Archive, archive_of
from inkwash.data.facts import PassedOver, merged, note
from inkwash.data.listed import LISTS
from inkwash.data.opening import FORMATS, is_image
from inkwash.data.unseen import unseen
from inkwash.data.walk import Walk, entries, real_file
from inkwash.errors import UserError

# Files with one of these names are never images; a file with another name is opened.
OTHER = {
    ".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".yaml", ".yml", ".ini", ".db", ".log", ".py",
    ".ipynb", ".pdf", ".pkl", ".pt", ".pth", ".ckpt", ".safetensors", ".url", ".lnk", ".part", ".sha256", ".md5",
}  # fmt: skip
# Files that hold images, and that `folder` does not read.
PICTURES = {
    ".heic", ".heif", ".jxl", ".svg", ".exr", ".hdr", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".dcm", ".nii",
    ".npy", ".npz", ".h5", ".hdf5", ".mat", ".tar", ".tgz", ".gz", ".zip", ".7z", ".rar", ".parquet", ".lmdb", ".mdb",
    ".tfrecord", ".mp4", ".avi", ".mov", ".webm", ".mkv",
}  # fmt: skip


class Listing(NamedTuple):
    """Image files below a folder, sorted, so that nothing depends on the file system's order."""

    files: list[Path]
    passed_over: PassedOver
    suspicious: tuple[str, ...]

    def suspecting(self, more: tuple[str, ...]) -> "Listing":
        """Return the listing with more that is suspicious."""
        return self._replace(suspicious=(*self.suspicious, *more))


def images_below(root: Path) -> Listing:
    """List the image files below a folder, or a zip file or folder in it, without hidden ones.

    Links are followed, to each real path once.
    """
    files: list[Path] = []
    passed_over: PassedOver = {}
    unread, archive = None, archive_of(root)
    if archive:
        passed_over = merged([archive.passed_over])
    for file in archive.files if archive else sorted(Walk(root, passed_over).files):
        suffix = file.suffix.lower()
        if suffix in suffixes() or (suffix not in OTHER | PICTURES and _is_image(file, archive)):
            files.append(file)
            continue
        if file.parent == root and file.name in LISTS:  # folder.py tells of those that are not used
            continue
        name = str(file.relative_to(root))
        note(passed_over, "not images" if suffix not in PICTURES else "of a format that is not read", name)
        unread = unread or (name if suffix in PICTURES else None)
    suspicious = ()
    if unread:
        suspicious = (f"{root} has files like {unread}, which may be images, but are not read: convert them",)
    return Listing(files, passed_over, suspicious)


def _is_image(file: Path, archive: Archive | None) -> bool:
    if archive is None:
        # A pipe, which must not be opened, and a link to nothing are refused by name, once their turn comes.
        return not file.is_file() or is_image(file)
    return is_image(next(archive.contents([file])))


def children(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible folders and the files in a folder or zip file, not deeper, sorted."""
    if archive := archive_of(folder):
        return archive.children(folder)
    found = [Path(entry.path) for entry in entries(folder) if not unseen([entry.name])]
    return [path for path in found if path.is_dir()], [path for path in found if not path.is_dir()]


def inside(files: Sequence[Path], path: Path) -> dict[str, dict[str, None]]:
    """Return for each first-level subfolder the names of the subfolders in it that hold images, in order."""
    found: dict[str, dict[str, None]] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        if parts := folder.relative_to(path).parts:
            found.setdefault(parts[0], {}).update(dict.fromkeys(parts[1:2]))
    return found


def without_images(folders: Sequence[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """Return a sentence for the report if a folder beside those of the classes has no images.

    Args:
        folders: the first level of subfolders.
        files: all images.
    """
    used = {parent for file in files for parent in file.parents}
    empty = [folder for folder in folders if folder not in used and not folder.is_symlink()]
    if not empty or used.isdisjoint(folders):
        return ()
    names = ", ".join(folder.name for folder in empty[:3]) + ", ..." * (len(empty) > 3)
    return (
        f"{names} in {empty[0].parent} {'has' if len(empty) == 1 else 'have'} no images: the other folders are "
        "numbered as classes without, so that labels differ from those of a set where it has some",
    )


def check_apart(train: Sequence[Path], heldout: Sequence[Path]) -> None:
    """Raise UserError if a real file is in both splits, by links of either kind."""
    real = dict(zip(map(real_file, train), train, strict=True))
    both = [(real[place], file) for file in heldout if (place := real_file(file)) in real]
    if both:
        raise UserError(
            f"{len(both):,} images are in both splits by links, {both[0][0]} and {both[0][1]} first, but held-out "
            "images are not trained on: remove the links, or give other folders as data.path=... and "
            "data.source.heldout_path=..."
        )


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of image files that are read, such as .png."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)

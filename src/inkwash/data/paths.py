"""From data.path to files: a file, a folder, a glob, or braces as WebDataset's shards are named."""

import re
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

from inkwash.data.unseen import unseen
from inkwash.data.walk import Walk
from inkwash.errors import UserError

# What map and filter of Hugging Face datasets leave beside the files of save_to_disk.
LEFT_OVER = re.compile(r"(cache-|tmp)[^.]*\.arrow")
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
AN_ADDRESS = "it is an address, not a path: fetch the files first, and give the folder"
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar")


def find_files(path: Path, suffixes: tuple[str, ...], key: str) -> list[Path]:
    """Return the file at a path, the files of a folder that end in one of the suffixes, or those of a pattern.

    They are sorted, those of braces in the order of the braces.
    A folder without such files is searched with its subfolders. A pattern is a glob, or has braces:
    shard-{0000..0015}.tar stands for 16 files, all of which must exist. What exists under the name itself is taken
    first, so names with brackets or braces need no escape. Hidden files, which macOS writes beside others on foreign
    disks, are not taken.

    Args:
        path: absolute.
        suffixes: of the files of a folder, in any case.
        key: the configuration key of the path, for errors.

    Raises:
        UserError: no file matches, or one that braces stand for is missing.
    """
    if path.is_dir():
        files = sorted(_below(path, suffixes))
    elif path.exists() or path.is_symlink():
        files = [path]
    else:
        files = list(_matching(path, key))
    if not files:
        raise UserError(f"{key}={path} finds no file: {_advice(path, suffixes)}")
    return list(dict.fromkeys(files))


def braces(pattern: str) -> Iterator[str]:
    """Yield what a pattern with braces stands for, as bash does: {0000..0015} and {a,b}, several in any order."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    parts = _parts(found[1]) if found else None
    if not found or parts is None:
        yield pattern
        return
    for part in parts:
        yield from braces(pattern[: found.start()] + part + pattern[found.end() :])


def _parts(text: str) -> list[str] | None:
    if number := RANGE.fullmatch(text):
        first, last = int(number[1]), int(number[2])
        padded = any(re.match(r"-?0\d", end) for end in number.groups())
        width = max(len(end) for end in number.groups()) if padded else 0
        step = 1 if first <= last else -1
        return [f"{i:0{width}d}" for i in range(first, last + step, step)]
    return text.split(",") if "," in text else None


def _matching(path: Path, key: str) -> Iterator[Path]:
    """Yield the files of a pattern; folders that exist as they are written are no part of it."""
    root = root_of(path)
    patterns = list(braces(str(path.relative_to(root))))
    missing = [name for name in patterns if not has_magic(name) and not (root / name).is_file()]
    if missing and len(patterns) > 1:
        raise UserError(
            f"{key}={path} stands for {len(patterns)} files, of which {len(missing)} are missing, {root / missing[0]} "
            "first: correct the numbers, or fetch the files"
        )
    for pattern in patterns:
        names = sorted(glob(pattern, root_dir=root, recursive=True)) if has_magic(pattern) else [pattern]
        yield from (root / name for name in names if (root / name).is_file())


def root_of(pattern: Path) -> Path:
    """Return the deepest folder of a pattern that exists as it is written."""
    return next(folder for folder in pattern.parents if folder.is_dir())


def _below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder that end in one of the suffixes, without any those of its subfolders.

    Links to folders are followed: else a set whose `train` is a link would consist of its test files.
    """
    for names in (folder.iterdir, lambda: Walk(folder, {}).files):
        found = [file for file in names() if file.name.lower().endswith(suffixes) and not file.is_dir()]
        found = [file for file in found if not LEFT_OVER.fullmatch(file.name)]
        if found := [file for file in found if not unseen(file.relative_to(folder).parts)]:
            return found
    return []


def is_address(path: Path) -> bool:
    """Tell whether a path, made absolute, was an address such as https://..."""
    return re.search(r"/[a-z0-9+.-]{2,}:/", str(path)) is not None


def _advice(path: Path, suffixes: tuple[str, ...]) -> str:
    if is_address(path):
        return AN_ADDRESS
    if arrow := next(path.rglob("*.arrow"), None):
        return f"{arrow} is of save_to_disk of Hugging Face datasets: use data=hf"
    packed = sorted(file.name for file in path.iterdir() if file.suffix.lower() in PACKED) if path.is_dir() else []
    if packed:
        return f"{packed[0]} is compressed, unpack it first"
    return f"give a {suffixes[0]} file, a folder of them or a quoted glob"


def absolute(path: str | None) -> Path | None:
    """Return the absolute path; None for None."""
    return Path(path).expanduser().absolute() if path else None


def given(path: str | None) -> Path:
    """Return data.path as an absolute path. Raises UserError if it is missing."""
    if (place := absolute(path)) is None:
        raise UserError("data.path is missing: add data.path=... (a file, a folder or a quoted glob)")
    return place

"""Tell by the names of folders and files which are for training and which are held out (else see heldout_draw.py)."""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inkwash.data.facts import Facts, PassedOver, merged, tally_of
from inkwash.data.labels import Classes
from inkwash.data.paths import find_files, root_of
from inkwash.data.suspicions import incomplete
from inkwash.data.walk import real_file
from inkwash.errors import UserError

# Names of splits in the names of folders and files, as Hugging Face, torchvision and ImageNet use them.
NAMES = {
    "train": ("train", "training", "trainval"),
    "validation": ("val", "valid", "validate", "validation", "dev", "heldout", "holdout"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
FILLERS = ("image", "images", "img", "imgs", "set", "data", "split")  # words beside a split's in a folder's name
COLUMNS = ("split", "splits", "subset", "partition")  # names of columns that tell the split of a row
AUTO, NONE = "auto", "none"  # values of data.source.splits


def names_below(files: Collection[Path]) -> list[str]:
    """Return the names of files from the folder that they have in common."""
    root = os.path.commonpath([file.parent for file in files])
    return [str(file.relative_to(root)) for file in files]


def mixed(names: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for the report if the names of one set's files or folders tell training and other splits."""
    told = {SPLIT_OF[word] for name in names for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_OF}
    if "train" not in told or len(told) == 1:
        return ()
    return (
        f"names in data.path tell {' and '.join(sorted(told))}, but all are taken as one set: images to test with may "
        "be trained on",
    )


class Division(NamedTuple):
    """Files or folders of both splits.

    train, heldout: their paths; heldout is None if a fraction of the training's is held out.
    origins: where each split comes from, in words.
    unused: the paths of a third split.
    suspicious: sentences for the report about the files.
    """

    train: list[Path]
    heldout: list[Path] | None
    origins: dict[str, str]
    unused: list[Path]
    suspicious: tuple[str, ...] = ()

    def facts(
        self, split: str, classes: Classes, drawn: int, total: int, names: Iterable[str], passed_over: PassedOver
    ) -> Facts:
        """Return the facts of a split.

        Args:
            drawn, total: numbers of the split's images, and of those that it was drawn from.
            names: of the set's folders or files.
            passed_over: what is not used among them.
        """
        origin, suspicious = self.origins[split], self.suspicious
        if self.heldout is None:
            origin, suspicious = f"{origin}, {drawn:,} of {total:,} images", (*suspicious, *mixed(names))
        unused = {"of a split that is not used": tally_of(map(str, self.unused))} if self.unused else {}
        return Facts(origin, classes, merged([passed_over, unused]), suspicious=suspicious)


def check_splits(splits: str, heldout_fraction: float) -> None:
    """Raise UserError for arguments of a source that are not `auto` or `none`, or not a fraction."""
    if splits not in (AUTO, NONE):
        raise UserError(f"data.source.splits={splits} must be auto (names of folders and files tell) or none")
    if not 0 <= heldout_fraction < 1:
        raise UserError(f"data.source.heldout_fraction={heldout_fraction} must be at least 0 and less than 1")


def split_of(name: str) -> str | None:
    """Return the split that a name contains as a word: train-00000.parquet -> train; None without one.

    Raises:
        UserError: it contains several.
    """
    found = {SPLIT_OF[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_OF}
    if len(found) > 1:
        raise UserError(
            f"{name} names several splits, {' and '.join(sorted(found))}: rename it, or ignore such names with "
            "data.source.splits=none"
        )
    return found.pop() if found else None


def split_of_folder(name: str) -> str | None:
    """Return the split that a folder's whole name tells: train2017, val_images; None for `steam train`."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word and word not in FILLERS]
    return SPLIT_OF.get("".join(words))  # joined, for held_out


def doubtful_classes(inside: Mapping[str, Collection[str]], path: Path) -> tuple[str, ...]:
    """Return sentences for the report about folders that are taken as classes, and may be splits.

    Args:
        inside: for each folder the names of the subfolders in it that hold images.
        path: the folder of the folders.

    Raises:
        UserError: one is named like a split, and all have the same subfolders: these are the classes.
    """
    splits = [name for name in inside if split_of_folder(name)]
    first, *others = inside.values() if inside else [()]
    # A single one, as images/ in every class of Tiny ImageNet, is no choice of classes.
    same = len(first) > 1 and bool(others) and all({*first} == {*other} for other in others)
    names = " and ".join([*inside][:2]) + (" and more" if len(inside) > 2 else "")
    if same and splits:
        told = {split_of_folder(name): name for name in inside}
        train = told.get("train") or told.get(None, "...")
        raise UserError(
            f"{path} has {splits[0]}, named like a split, beside a folder whose name tells none: {names} have the same "
            f"subfolders, {', '.join([*first][:3])}{', ...' * (len(first) > 3)}, which may be the classes. Name the "
            f"images to train on with data.path={path}/{train} and those to test with as "
            "data.source.heldout_path=..., or take the folders as classes with data.source.splits=none"
        )
    if same:
        return (
            f"{names} in {path} are taken as classes, but all have the same subfolders, which may be the classes: if "
            "they are, name one with data.path=... and another with data.source.heldout_path=...",
        )
    return tuple(
        f"{name} in {path} is named like a split, but is taken as a class: if it is a split, name the folder to "
        "train on with data.path=...; if it is a class, say so with data.source.splits=none"
        for name in splits[:1]
    )


def divide_files(path: Path, heldout_path: Path | None, suffixes: tuple[str, ...], splits: str) -> Division:
    """Find the files of both splits; those that heldout_path finds are not trained on.

    Args:
        path, heldout_path: data.path and data.source.heldout_path: a file, a folder or a glob.
        suffixes: of the files in a folder.
        splits: auto or none.

    Raises:
        UserError: some files name a split and others do not, or all files are held out.
    """
    division = _divide_files(path, heldout_path, suffixes, splits)
    if path.is_file():
        return division
    files = [*division.train, *(division.heldout or ()), *division.unused]
    return division._replace(suspicious=tuple(incomplete([str(file) for file in files])))


def _divide_files(path: Path, heldout_path: Path | None, suffixes: tuple[str, ...], splits: str) -> Division:
    files = find_files(path, suffixes, "data.path")
    if heldout_path is not None:
        heldout = find_files(heldout_path, suffixes, "data.source.heldout_path")
        if splits == AUTO and path.is_dir():
            files = by_name(files, path).get("train", files)
        if splits == AUTO and heldout_path.is_dir():
            named = by_name(heldout, heldout_path)
            heldout = named.get("test") or named.get("validation") or heldout
        held = {real_file(file) for file in heldout}  # a link, or another way to write the path, is the same file
        files = [file for file in files if real_file(file) not in held]
        if not files:
            raise UserError(
                f"data.source.heldout_path={heldout_path} finds all files of data.path={path}, and leaves none for "
                "training: held-out images are not trained on, so give other files"
            )
        origins = {"train": f"data.path={path}", "heldout": f"data.source.heldout_path={heldout_path}"}
        return Division(files, heldout, origins, [])
    if splits == NONE or path.is_file():
        return Division(files, None, {"train": f"data.path={path}", "heldout": f"data.path={path}"}, [])
    root = path if path.is_dir() else root_of(path)
    return divided(by_name(files, root), files, root)


def by_name(files: Sequence[Path], root: Path) -> dict[str | None, list[Path]]:
    """Group files by the split that the topmost part of their names below `root` tells."""
    groups: dict[str | None, list[Path]] = {}
    for file in files:
        parts = file.relative_to(root).parts if file.is_relative_to(root) else (file.name,)
        split = next(filter(None, map(_split_of_part, parts)), None)
        groups.setdefault(split, []).append(file)
    return groups


def _split_of_part(name: str) -> str | None:
    """Return the split that a part of a path tells; a folder COLUMN=VALUE tells one only if the column is of splits."""
    column, equals, value = name.partition("=")
    if equals:
        return split_of(value) if column.lower() in COLUMNS else None
    return split_of(name)


def divided(groups: dict[str | None, list[Path]], files: list[Path], root: Path) -> Division:
    """Return the division that names tell; without a split for training, or only that, a fraction is held out.

    With validation and test images, those of validation are held out; test images are not used at all.

    Raises:
        UserError: some files name a split and others do not.
    """
    whole = {"train": f"data.path={root}", "heldout": f"data.path={root}"}
    named = {name: found for name, found in groups.items() if name is not None}
    if "train" not in named or (len(named) == 1 and None not in groups):
        return Division(files, None, whole, [])
    if None in groups:
        other = groups[None][0].relative_to(root)
        raise UserError(
            f"data.path={root} has {named['train'][0].relative_to(root)} for training, and {other}, whose name tells "
            "no split: move one of them, name the training's alone with data.path=... and the others with "
            "data.source.heldout_path=..., or take all as one set with data.source.splits=none"
        )
    heldout = "validation" if "validation" in named else "test"
    unused = [file for name, found in named.items() if name not in ("train", heldout) for file in found]
    origins = {split: _origin(root, named[name]) for split, name in (("train", "train"), ("heldout", heldout))}
    return Division(named["train"], named[heldout], origins, unused)


def _origin(root: Path, files: Sequence[Path]) -> str:
    first = files[0].relative_to(root)
    return f"{root}/{first}" if len(files) == 1 else f"{root}: {first} and {len(files) - 1} more"

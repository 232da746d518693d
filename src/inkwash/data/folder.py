"""Source of the image files in a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkwash.data.archive import archive_of, forget, top_of, zip_of
from inkwash.data.encoded import EncodedSource, Entries, Entry
from inkwash.data.facts import note
from inkwash.data.labels import Classes, Part, as_spelled, check_alike, from_words, joined, recoded
from inkwash.data.listed import LISTS, listed_labels, one_above, other_tables
from inkwash.data.listing import Listing, check_apart, children, images_below, inside, suffixes, without_images
from inkwash.data.paths import AN_ADDRESS, absolute, given, is_address
from inkwash.data.reading import version_of
from inkwash.data.rendering import Rendering
from inkwash.data.splits import AUTO, Division, check_splits, divided, doubtful_classes, split_of_folder
from inkwash.errors import UserError

OTHER_SOURCES = {".parquet": "parquet", ".tar": "webdataset"}

BY_FOLDER = f"move {LISTS[0]} elsewhere to take the subfolders as classes"


class Labelled(NamedTuple):
    """Image files with labels, int64 (N,), and the names of these."""

    listing: Listing
    labels: np.ndarray
    classes: Classes


class Folder(EncodedSource):
    """The image files below `data.path`, without hidden ones, each real file once however many links lead there.

    In place of a folder there may be a zip file of it, as EDM's and StyleGAN's dataset_tool.py makes them.

    Splits: if all subfolders are named like splits (train, val, test, ...), they are. Labels: from dataset.json of EDM
    and StyleGAN ({"labels": [["00000/img.png", 3], ...]}), or from metadata.csv or metadata.jsonl of Hugging Face with
    file_name and label, if the folder, or that of the splits, has one; else the first level of subfolders makes classes
    0, 1, ..., and files outside them have no label.

    Args:
        heldout_path: a folder of held-out images, with the same classes; null to hold out a part of `data.path`.
        heldout_fraction: fraction of the files that is held out without a folder for that, the same ones for every
            seed; 0 for none.
        splits: auto, or none if folders with such names are classes.
        stratified: hold out the same fraction of each class; false draws from all files together.
        class_order: natural (2 before 10), or alphabetical, as torchvision has it.
        resize, skip_corrupt, cache_dir: see EncodedSource.
        black, white, background: see Rendering.
    """

    finds_labels = True  # `labels`, by which the command finds data.num_classes

    def __init__(
        self,
        heldout_path: str | None = None,
        heldout_fraction: float = 0.1,
        splits: str = AUTO,
        stratified: bool = True,
        class_order: str = "natural",
        resize: bool = True,
        skip_corrupt: bool = False,
        cache_dir: str = "data/cache",
        black: float | None = None,
        white: float | None = None,
        background: str | Sequence[int] | None = None,
    ):
        super().__init__(resize, skip_corrupt, cache_dir, Rendering(black, white, background))
        check_splits(splits, heldout_fraction)
        if class_order not in ("natural", "alphabetical"):
            raise UserError(f"data.source.class_order={class_order} must be natural or alphabetical")
        self.heldout_path = absolute(heldout_path)
        self.heldout_fraction = heldout_fraction
        self.splits = splits
        self.stratified = stratified
        self.class_order = class_order

    def find(self, split: str, path: Path) -> Entries:
        """Find the files of a split."""
        from inkwash.data.heldout_draw import rows_of  # not at the top: it imports torch

        division, found, classes = self._both_splits(path)
        # The images of a split that is not used are counted, not its folder.
        division = division._replace(unused=[file for root in division.unused for file in images_below(root).files])
        root = (division.train if split == "train" else division.heldout or division.train)[0]
        here = found[root]
        files, labels = here.listing.files, recoded(here.labels, here.classes, classes)
        folders = {part for file in files for part in file.relative_to(root).parts[:-1]}
        versions = _versions(files, root)  # of both splits: a pipe in either is refused at once
        if division.heldout is None:
            rows = rows_of(split, labels, self.heldout_fraction, self.stratified).numpy()
            files, labels = [files[i] for i in np.flatnonzero(rows)], labels[rows]
        passed_over = here.listing.passed_over
        facts = division.facts(split, classes, len(files), len(here.listing.files), folders, passed_over)
        facts = replace(facts, suspicious=(*facts.suspicious, *here.listing.suspicious))
        version = (split, versions, labels.tolist())
        contents = _contents(files, root)
        pairs = zip(files, contents, labels.tolist(), strict=True)
        stream = (Entry(str(file), content, label) for file, content, label in pairs)
        forget()
        return Entries(version, len(files), stream, facts)

    def labels(self, path: str | None) -> tuple[np.ndarray, Classes]:
        """Return the labels of the images of both splits: see StreamedSource.labels."""
        _, found, classes = self._both_splits(given(path))
        forget()
        return np.concatenate([recoded(part.labels, part.classes, classes) for part in found.values()]), classes

    def _both_splits(self, path: Path) -> tuple[Division, dict[Path, Labelled], Classes]:
        """Return the folders of both splits, what is in each of them, and the classes of both."""
        top = top_of(path)
        division = self._division(top)
        train, heldout = division.train[0], (division.heldout or division.train)[0]
        found = {root: self._labelled(root, top) for root in dict.fromkeys((train, heldout))}
        if len(found) == 2:
            check_apart(*(part.listing.files for part in found.values()))
            found[heldout] = _as_in_training(found[heldout], found[train])
        classes = joined(part.classes for part in found.values())
        if self.class_order == "alphabetical" and not classes.fixed:
            classes = Classes(tuple(sorted(classes.names)))
        check_alike((_part(*item) for item in found.items()), classes, BY_FOLDER)
        return division, found, classes

    def _division(self, path: Path) -> Division:
        """Return the folders of both splits."""
        _check_folder(path, "data.path")
        if self.heldout_path is not None:
            _check_folder(self.heldout_path, "data.source.heldout_path")
            train, heldout = path, self.heldout_path
            if self.splits == AUTO:
                train = (_split_folders(path) or {}).get("train") or _only_split(path)
            heldout = top_of(heldout, {folder.name for folder in children(train)[0]})
            if self.splits == AUTO and not any(file.name in LISTS for file in children(heldout)[1]):
                heldout = _only_split(heldout)
            if heldout.is_relative_to(train) or train.is_relative_to(heldout):
                raise UserError(
                    f"data.source.heldout_path={heldout} and data.path={train} lie within each other, but held-out "
                    "images are not trained on: give the folder of the training images alone as data.path"
                )
            origins = {"train": f"data.path={train}", "heldout": f"data.source.heldout_path={heldout}"}
            return Division([train], [heldout], origins, [])
        folders = _split_folders(path) or {} if self.splits == AUTO else {}
        if len(folders) < 2:
            root = _only_split(path) if self.splits == AUTO else path
            return divided({None: [root]}, [root], root)
        return divided({name: [folder] for name, folder in folders.items()}, [path], path)

    def _labelled(self, root: Path, top: Path) -> Labelled:
        """List the images of a folder with their labels: by a file that lists them, else by subfolder."""
        listing = images_below(root)
        if not listing.files:
            raise UserError(f"{root} holds no images: give a folder of images as data.path ({_seen(listing)})")
        one_of_splits = root.parent == top
        splits = [folder.name for folder in children(top)[0] if folder != root] if one_of_splits else []
        listed = listed_labels(root, listing.files, top if one_of_splits else root, splits)
        if listed is not None:
            return Labelled(listing.suspecting(listed.suspicious), listed.labels, listed.classes)
        folders, beside = children(root)
        for unused in [file for file in beside if file.name in LISTS]:
            note(listing.passed_over, "not images", unused.name)
        listing = listing.suspecting(one_above(root))
        labels, classes = from_words([_class_of(file, root) for file in listing.files])
        if not classes.names:
            listing = listing.suspecting(other_tables(beside, listing.files))
        elif self.splits == AUTO:
            listing = listing.suspecting(doubtful_classes(inside(listing.files, root), root))
        return Labelled(listing.suspecting(without_images(folders, listing.files)), labels, classes)


def _part(root: Path, found: Labelled) -> Part:
    return Part(str(root), bool((found.labels >= 0).any()), found.classes)


def _versions(files: Sequence[Path], root: Path) -> list[object]:
    """Return what tells one state of the files from another: of a zip file, its own state, and their names."""
    if (packed := zip_of(root)) is not None:
        return [version_of(packed), *map(str, files)]
    return [version_of(file) for file in files]


def _contents(files: Sequence[Path], root: Path) -> Iterator[bytes] | Sequence[Path]:
    archive = archive_of(root)
    return archive.contents(files) if archive else files


def _check_folder(path: Path, key: str) -> None:
    if not path.is_dir() and zip_of(path) is None:
        other = OTHER_SOURCES.get(path.suffix.lower()) if path.is_file() else None
        advice = f"use data={other} for it" if other else "give one that holds the images, or a zip file of it"
        if is_address(path):
            raise UserError(f"{key}={path} is not a folder: {AN_ADDRESS}")
        raise UserError(f"{key}={path} is not a folder: {advice}")


def _split_folders(path: Path) -> dict[str, Path] | None:
    """Return the subfolders that are splits, by split; None if the subfolders are something else, classes for example.

    Raises:
        UserError: there are several of a split, or there are images beside folders for training and for holding out.
    """
    folders, files = children(path)
    splits: dict[str, Path] = {}
    others = [file for file in files if file.suffix.lower() in suffixes()]
    for folder in folders:
        split = split_of_folder(folder.name)
        if split is None:
            others.append(folder)
        elif split in splits:
            raise UserError(
                f"data.path={path} has {splits[split].name} and {folder.name}, both for {split}: remove one, or take "
                "folders as classes with data.source.splits=none"
            )
        else:
            splits[split] = folder
    if "train" not in splits or (len(splits) == 1 and others):
        return None
    for other in others:
        if other in files or images_below(other).files:
            raise UserError(
                f"data.path={path} has folders for {' and '.join(splits)}, and images in {other.name}, whose name "
                "tells no split: move it elsewhere, or take folders as classes with data.source.splits=none"
            )
    return splits


def _only_split(path: Path) -> Path:
    """Return the subfolder that holds all images if its name tells a split; else the folder itself."""
    folders, files = children(path)
    named = [folder for folder in folders if split_of_folder(folder.name)]
    if len(named) != 1 or any(file.suffix.lower() in suffixes() for file in files):
        return path
    return path if any(images_below(folder).files for folder in folders if folder != named[0]) else named[0]


def _class_of(file: Path, path: Path) -> str | None:
    """Return the first-level subfolder of a file, None if it lies in none."""
    parts = file.relative_to(path).parts
    return parts[0] if len(parts) > 1 else None


def _as_in_training(heldout: Labelled, train: Labelled) -> Labelled:
    return heldout._replace(classes=as_spelled(heldout.classes, train.classes.names))


def _seen(listing: Listing) -> str:
    return "; ".join(f"{reason}: {tally}" for reason, tally in listing.passed_over.items()) or "it is empty"

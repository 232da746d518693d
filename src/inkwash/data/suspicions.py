"""Find likely mistakes in a data set: odd names of classes, missing files, copies of images, enlarged images."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# What tables and databases write in the place of a missing label, in small letters.
MISSING = ("", "nan", "none", "null", "<na>", "n/a", "undefined")
SHOWN = 5
PAGED = "there are files with several pages or frames"


def odd_names(names: Sequence[str]) -> Iterator[str]:
    """Yield sentences about names of classes that are almost the same, or those of missing labels."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    for group in [group for group in alike.values() if len(group) > 1][:SHOWN]:
        yield f"classes of almost the same name, {_quoted(group)}: if they are one class, give it one name"
    if odd := [name for key, group in alike.items() if key in MISSING for name in group]:
        yield (
            f"a class is called {_quoted(odd)}, as labels that are missing are written: store null for them, or leave "
            "those images out"
        )


def copies_in(digests: np.ndarray) -> int:
    """Return how many images are equal to an earlier one, by hashes of their pixels, (N,)."""
    return len(digests) - len(np.unique(digests))


def leaks(train: np.ndarray | None, heldout: np.ndarray | None) -> Iterator[str]:
    """Yield a sentence if held-out images are trained on, by hashes of the pixels, (N,); None if there are none."""
    if train is None or heldout is None:
        return
    if count := int(np.isin(heldout, train).sum()):
        yield (
            f"{count:,} of {len(heldout):,} held-out images are copies of training images, pixel by pixel: remove the "
            "copies, as the held-out loss and the metrics take images for new that are trained on"
        )


def enlarged(smallest: tuple[int, int] | None, shape: Sequence[int]) -> Iterator[str]:
    """Yield a sentence if images are smaller than they are trained on.

    Args:
        smallest: least height and least width; None if unknown.
        shape: (C, H, W).
    """
    if smallest and (smallest[0] < shape[1] or smallest[1] < shape[2]):
        yield (
            f"the smallest images, {smallest[0]} x {smallest[1]}, are enlarged to {shape[1]} x {shape[2]}, which makes "
            "no details: choose a smaller data.shape, or leave them out"
        )


def incomplete(names: Iterable[str]) -> Iterator[str]:
    """Yield sentences for the report about files like train-00001-of-00003 of which some are missing or double."""
    parts: dict[tuple[str, int], list[int]] = {}
    for name in names:
        if found := re.search(r"(.*[-_.])([0-9]{1,9})-of-([0-9]{1,9})(?![0-9])", name):
            parts.setdefault((found[1], int(found[3])), []).append(int(found[2]))
    for (start, total), numbers in parts.items():
        there = {*numbers}
        first = 0 if 0 in there or total not in there else 1
        if (missing := total - len(there)) < 0:
            yield (
                f"{len(there):,} files {start}...-of-{total:05d}, numbers {min(there)} to {max(there)}, are more than "
                f"{total:,}: they may be of two downloads, and hold the same images twice"
            )
        elif missing:
            lost = next(number for number in range(first, first + total + 1) if number not in there)
            yield (
                f"{missing:,} of the {total:,} files {start}...-of-{total:05d} are not there, number {lost} first: "
                "fetch them, if they were not left out on purpose"
            )
        if len(there) < len(numbers):
            double = next(number for number in numbers if numbers.count(number) > 1)
            yield (
                f"number {double} of the {total:,} files {start}...-of-{total:05d} is there more than once, under two "
                "names: if they hold the same images, remove one"
            )


def of_pages(name: str, pages: int) -> str:
    """Return a sentence about an image file with several pages or frames."""
    return (
        f"{PAGED}, {name} first with {pages:,}, of which the first alone is an image of the set: to use the others, "
        "write each to a file of its own"
    )


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names[:SHOWN])) + (" and more" if len(names) > SHOWN else "")

"""Class names: labels are 0, 1, ... inside; names come from folders, columns and metadata."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from inkwash.errors import UserError

# Names of columns of labels, in lower case, of which one is taken if label_column=label, the default, is not there.
LABELS = (
    "label", "labels", "class", "classes", "cls", "target", "targets", "y", "category", "fine_label", "coarse_label",
    "class_id", "label_id", "category_id", "target_id", "class_idx", "label_idx", "class_index", "label_index",
    "class_label", "class_name", "label_name", "category_name", "classname",
)  # fmt: skip


class Classes(NamedTuple):
    """Names of the labels 0, 1, ...; `fixed` if their order was given, and not made by sorting the names."""

    names: tuple[str, ...] = ()
    fixed: bool = False


class NoClassesError(UserError):
    """There are no labels where none were asked for by name, or they are no classes, as numbers that are not whole.

    Attributes:
        reason: why the labels are no classes; "" if there are none.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


class Part(NamedTuple):
    """A file or folder of a set, whether any of its images has a label, and its classes."""

    place: str
    labelled: bool
    classes: Classes


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sorting key by which 2 comes before 10: a number within a name counts as a number.

    Numbers are compared by how many digits they have, then by these, as Python reads none of over 4,300 digits.
    """
    parts = re.split(r"([0-9]+)", name)  # every other one is a number
    keys = [(1, 0, part) if i % 2 == 0 else _size_of(part.lstrip("0")) for i, part in enumerate(parts) if part]
    return keys, name


def _size_of(digits: str) -> tuple[int, int, str]:
    return 0, len(digits), digits


def joined(parts: Iterable[Classes]) -> Classes:
    """Return the classes of several files or splits together: in natural order, or in the order that was given."""
    parts = [part for part in parts if part.names]
    if len({part.names for part in parts}) <= 1:
        return parts[0] if parts else Classes()
    spelled = one_spelling(name for part in parts for name in part.names)
    names = tuple(dict.fromkeys(spelled.values()))
    if any(part.fixed for part in parts):
        return Classes(names, fixed=True)
    return Classes(tuple(sorted(names, key=natural)))


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """Return for each name its class: names that differ only in how accents are stored are one, stored as NFC.

    macOS stores a letter and its accent (NFD), others one letter (NFC): a set that was copied from both has folders of
    either, which look the same.
    """
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return {name: nfc if len(group) > 1 else name for nfc, group in found.items() for name in group}


def as_spelled(classes: Classes, names: Sequence[str]) -> Classes:
    """Return classes spelled like those among `names` that differ only in how accents are stored.

    The spelling of `names` stays, and with it the order of the labels of runs that were trained on them.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names} | {name: name for name in names}
    spelled = [known.get(name) or known.get(unicodedata.normalize("NFC", name), name) for name in classes.names]
    return classes._replace(names=tuple(spelled))


def check_alike(parts: Iterable[Part], classes: Classes, advice: str) -> None:
    """Refuse labels that are numbers in one part and names in another: nothing tells which name a number stands for.

    Numbers beside an order of names that was given are places in it, and beside the names 0, 1, ... they are these.

    Args:
        parts: all parts; those without any label fit all others.
        classes: those of all parts together.
        advice: what else to do, for the error.

    Raises:
        UserError: a part has numbers, and another one names.
    """
    labelled = [part for part in parts if part.labelled]
    numbers = next((part for part in labelled if not part.classes.names), None)
    names = next((part for part in labelled if part.classes.names and not part.classes.fixed), None)
    if numbers is None or names is None or classes.names == tuple(map(str, range(len(classes.names)))):
        return
    raise UserError(
        f"{numbers.place} has labels that are numbers, and {names.place} has labels that are names, such as "
        f"{names.classes.names[0]}: make them alike, or {advice}"
    )


def recoded(labels: np.ndarray, classes: Classes, into: Classes) -> np.ndarray:
    """Return labels, int64 (N,), of `classes` as labels of `into`, which has all their names; -1 stays."""
    if classes.names == into.names[: len(classes.names)]:
        return labels
    position = {name: label for label, name in enumerate(into.names)}
    spelled = [name if name in position else unicodedata.normalize("NFC", name) for name in classes.names]
    table = np.array([*(position[name] for name in spelled), -1])  # the last one is that of -1
    return table[labels]


def from_words(words: Sequence[str | None]) -> tuple[np.ndarray, Classes]:
    """Return labels and classes of words, one for each image; None has no label."""
    spelled = one_spelling(word for word in words if word is not None)
    names = tuple(sorted({*spelled.values()}, key=natural))
    label = {name: number for number, name in enumerate(names)}
    position: dict[str | None, int] = {word: label[name] for word, name in spelled.items()}
    return np.array([position.get(word, -1) for word in words], dtype=np.int64), Classes(names)

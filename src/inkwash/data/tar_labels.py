"""Labels of the samples of a WebDataset tar file: numbers or names, in files of their own or in .json files."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from inkwash.data import tar
from inkwash.data.labels import Classes, NoClassesError, from_words
from inkwash.data.tar import Member
from inkwash.data.tar_samples import Sample
from inkwash.errors import UserError

# Where label=cls, the default, looks: the first of these files that a sample has, else the first key of its .json file.
FILES = ("cls", "cls.txt", "class", "class.txt", "label", "label.txt")
KEYS = (
    "label", "class", "cls", "class_id", "label_id", "class_idx", "label_idx", "class_index", "target", "category_id",
    "category", "class_name", "label_name", "classname",
)  # fmt: skip
LONGEST = 200  # letters of a name; what is longer is a text


class FractionError(ValueError):
    """A label is a number that is not whole."""


class Labels:
    """Labels of the images of a file, in order.

    Args:
        wanted: data.source.label.
        file: the tar file.

    Attributes:
        lonely: keys of the samples that have a label and no image.
    """

    def __init__(self, wanted: str | None, file: Path):
        self.wanted, self.file = wanted, file
        self.names = FILES if wanted == "cls" else (wanted.lower(),) if wanted else ()
        self.values: list[int | str | None] = []
        self.lonely: list[str] = []
        self._unlabelled: str | None = None  # key of the first image without a label
        # Labels in other keys where the first one is null, by the image's number: they count if it is null everywhere,
        # as keys that are not the same may number the classes in other ways.
        self._others: dict[int, int | str | None] = {}

    def add(self, sample: Sample, has_image: bool) -> bool:
        """Add the label of a sample; return whether it has one."""
        value = self._value(sample, has_image)
        if has_image:
            self.values.append(value)
        if has_image and value is None:
            self._unlabelled = self._unlabelled or sample.key
        if not has_image and value is not None:
            self.lonely.append(sample.key)
        return value is not None

    def unread(self, sample: Sample, image: Member) -> list[str]:
        """Return the extensions of a sample whose files are neither the image nor may have its label."""
        read = [_member(sample, names) for names in (self.names, ("json",) * bool(self.wanted))]
        return [extension for extension, member in sample.files.items() if member not in (image, *read)]

    def numbered(self) -> tuple[np.ndarray, Classes]:
        """Return the labels, int64 (N,), -1 where an image has none, and the names of the classes, if they have any.

        Raises:
            UserError: there are labels without images and images without labels, numbers and names, or no labels
                where the configuration asks for some of its own.
        """
        if not any(value is not None for value in self.values):
            self.values = [self._others.get(i) for i in range(len(self.values))]
        found = {type(value) for value in self.values} - {type(None)}
        if self.lonely and self._unlabelled:
            raise UserError(
                f"{self.file} holds {len(self.lonely):,} labels without an image, {self.lonely[0]} first, and images "
                f"without a label, {self._unlabelled} first: the files of a sample need the same name up to the first "
                "dot, folders included, and must follow each other; or add data.source.label=null"
            )
        if len(found) > 1:
            shown = {type(value): value for value in self.values}
            raise UserError(
                f"{self.file} has labels that are numbers, {shown[int]}, and others that are names, {shown[str]}: "
                "make them alike, or add data.source.label=null"
            )
        if self.values and not found and self.wanted not in (None, "cls"):
            raise UserError(
                f"no image in {self.file} has a label {self.wanted}, neither a file of that extension nor a key of a "
                ".json file: correct data.source.label, or set it to null to train without labels"
            )
        if str in found:
            return from_words([None if value is None else str(value) for value in self.values])
        return np.array([-1 if value is None else value for value in self.values], dtype=np.int64), Classes()

    def _value(self, sample: Sample, has_image: bool) -> int | str | None:
        try:
            if (member := _member(sample, self.names)) is not None:
                return _of_text(tar.content_of(self.file, member).decode("utf-8-sig"))
            notes = _member(sample, ("json",)) if self.wanted and has_image else None
            if notes is not None:
                return self._of_json(tar.content_of(self.file, notes))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            wanted = "a number" if self.wanted == "cls" else f"{self.wanted} with a number"
            message = (
                f"the label of {sample.key} in {self.file} is not {wanted} or a name: set data.source.label=cls, to an "
                "extension, to a key of the .json files, or to null to train without labels"
            )
            if isinstance(error, FractionError):
                reason = f"the label of {sample.key} in {self.file} is {error}, which is not a whole number"
                raise NoClassesError(message, reason) from error
            raise UserError(message) from error
        return None

    def _of_json(self, text: bytes) -> int | str | None:
        if self.wanted != "cls":
            return _plain(json.loads(text)[self.wanted])
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return None  # notes of another kind
        if not isinstance(content, dict):
            return None
        keys = [key for key in KEYS if key in content]
        if keys and content[keys[0]] is None:
            with suppress(ValueError, TypeError, OverflowError):
                other = next((content[key] for key in keys if content[key] is not None), None)
                self._others[len(self.values)] = _plain(other)
        return _plain(content[keys[0]]) if keys else None


def _member(sample: Sample, names: Sequence[str]) -> Member | None:
    """Return the file of one of the extensions, the first one that a sample has; so is v2.cls, of a key with a dot."""
    for name in names:
        longer = [extension for extension in sample.files if extension.endswith(f".{name}")]
        if name in sample.files or len(longer) == 1:
            return sample.files[name if name in sample.files else longer[0]]
    return None


def _of_text(text: str) -> int | str:
    """Return a number or the name of a class.

    Raises:
        ValueError: it is neither: empty, of several lines, a fraction, JSON.
        OverflowError: it is too large a number.
    """
    text = text.strip()
    if whole := re.fullmatch(r"([-+]?[0-9]{1,4000})(\.0*)?", text):
        return _number(int(whole[1]))
    if not 0 < len(text) <= LONGEST or not text.isprintable() or text[0] in "[{":
        raise ValueError(text)
    if re.fullmatch(r"[-+]?[0-9.]*[0-9][0-9.]*(e[-+]?[0-9]+)?", text):
        raise FractionError(text)
    return text


def _number(number: int) -> int:
    """Return a label as int64 holds it; any number below zero is none, -1."""
    return max(-1, int(np.int64(number)))


def _plain(value: object) -> int | str | None:
    """Return a value of a .json file as a label."""
    if isinstance(value, str):
        return _of_text(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    if value != int(value):
        raise FractionError(value)
    return _number(int(value))

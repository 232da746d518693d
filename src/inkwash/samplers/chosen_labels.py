"""Labels of images that are drawn in Python: classes by number or name, one for each image or one for all."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.samplers.generate import labels_for

Label = int | str
NumberOf = Callable[[Label], int | None]
DEFAULT = 16  # images


def chosen_labels(
    labels: Any, num_images: int | None, num_classes: int | None, number_of: NumberOf | None, default: int = DEFAULT
) -> Tensor | None:
    """Return the labels of the images, (n,), None for a network without classes.

    Args:
        labels: a class or one for each image; None for every class in turn.
        num_images: None for one for each label, or `default`.
        num_classes: of the network; None without classes.
        number_of: finds a class by its name or number; None if classes have no names.

    Raises:
        UserError: there is no such class, or another number of labels than of images.
    """
    if num_classes is None:
        if labels is not None:
            raise UserError("labels: this run was trained without classes: leave them out")
        return None
    if labels is None:
        return labels_for(range(count_of(num_images, default)), num_classes)
    if hasattr(labels, "tolist"):  # a tensor or an array
        labels = labels.tolist()
    several = isinstance(labels, Sequence) and not isinstance(labels, str)
    given: list[Any] = list(labels) if several else [labels]
    numbers = torch.tensor([_number(label, num_classes, number_of) for label in given])
    if not several:
        return numbers.expand(count_of(num_images, default))
    if not given or num_images not in (None, len(given)):
        raise UserError(
            f"labels: {len(given)} of them for {num_images or 'no'} images: give one for each, or one for all"
        )
    return numbers


def count_of(num_images: int | None, default: int = DEFAULT) -> int:
    """Return the number of images, `default` for None. Raises UserError if it is below 1."""
    if num_images is None:
        return default
    if num_images < 1:
        raise UserError(f"num_images={num_images} must be at least 1")
    return num_images


def _number(label: Label, num_classes: int, number_of: NumberOf | None) -> int:
    found = label if number_of is None else number_of(label)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < num_classes:
        raise UserError(f"label={label}: this run has the classes 0 to {num_classes - 1}")
    return found

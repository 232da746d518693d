"""Handwritten digits of scikit-learn: 1,797 images of 8 x 8 that need no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from inkwash.data.facts import Facts
from inkwash.data.images import Images
from inkwash.errors import UserError

Array = np.ndarray


class Digits:
    """The digits 0 to 9, each (1, 8, 8), their 17 grey levels spread over 0..255.

    Args:
        heldout: number of held-out images, drawn from each class in proportion (stratified).
        seed: of this draw.
    """

    def __init__(self, heldout: int = 450, seed: int = 0):
        if not 10 <= heldout <= 1787:
            raise UserError(f"data.source.heldout={heldout} must lie between 10 and 1787: each digit is in each split")
        if not 0 <= seed < 2**32:
            raise UserError(f"data.source.seed={seed} must lie between 0 and 2**32 - 1")
        self.heldout = heldout
        self.seed = seed

    def load(self, split: str, shape: tuple[int, int, int], path: str | None = None) -> Images:
        """Load a split (see `Source.load`); the images come with scikit-learn, so `path` is not used."""
        pixels, labels = read_digits()
        train, heldout = divide(labels, self.heldout, self.seed)
        rows = heldout if split == "heldout" else train
        images = np.round(pixels[rows] * (255 / 16)).astype(np.uint8)
        pictures, y = torch.from_numpy(images).view(-1, 1, 8, 8), torch.from_numpy(labels[rows]).long()
        return Images(pictures, y, facts=Facts("sklearn.datasets.load_digits, each digit divided alike"))


def read_digits() -> tuple[Array, Array]:
    """Return pixels (1797, 64), 0 to 16, and labels (1797,).

    They are read from scikit-learn's file where it is known, because importing scikit-learn takes two seconds.
    """
    package = find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # pyright: ignore[reportAssignmentType]
    return np.asarray(pixels), np.asarray(labels)


def divide(labels: Array, heldout: int, seed: int) -> tuple[Array, Array]:
    """Return the sorted rows for training and those held out, from each class in proportion.

    These are the rows of sklearn.model_selection.train_test_split(stratify=labels), number for number: the split of
    every run since the first. It draws how many of each class are trained on, how many of the others are held out, and
    then which.
    """
    draws = np.random.RandomState(seed)
    sizes = np.bincount(labels)
    trained = _shares(sizes, len(labels) - heldout, draws)
    kept = _shares(sizes - trained, heldout, draws)
    train: list[int] = []
    rest: list[int] = []
    for k, size in enumerate(sizes):
        order = np.flatnonzero(labels == k)[draws.permutation(size)]
        train.extend(order[: trained[k]])
        rest.extend(order[trained[k] : trained[k] + kept[k]])
    return np.sort(train), np.sort(rest)


def _shares(sizes: Array, count: int, draws: np.random.RandomState) -> Array:
    """Divide a count between classes in proportion to their sizes; the largest fractions are rounded up.

    Where the last of these are equal, it is drawn which.
    """
    exact = sizes / sizes.sum() * count
    shares = np.floor(exact)
    fractions, left = exact - shares, int(count - shares.sum())
    for fraction in np.unique(fractions)[::-1]:
        if left == 0:
            break
        equal = np.flatnonzero(fractions == fraction)
        chosen = draws.choice(equal, size=min(len(equal), left), replace=False)
        shares[chosen] += 1
        left -= len(chosen)
    return shares.astype(int)

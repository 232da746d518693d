"""Handwritten digits of scikit-learn: 1,797 images of 8 x 8 that need no download."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from inkwash.data.facts import Facts
from inkwash.data.images import Images
from inkwash.errors import UserError


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
        pixels, labels = load_digits(return_X_y=True)
        train, heldout = train_test_split(
            np.arange(len(labels)), test_size=self.heldout, stratify=labels, random_state=self.seed
        )
        rows = np.sort(heldout if split == "heldout" else train)
        images = np.round(pixels[rows] * (255 / 16)).astype(np.uint8)
        pictures, y = torch.from_numpy(images).view(-1, 1, 8, 8), torch.from_numpy(labels[rows]).long()
        return Images(pictures, y, facts=Facts("sklearn.datasets.load_digits, each digit divided alike"))

"""Bits per dimension of a data split: the mean over its images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inkwash.metrics.per_image import ByIndex


class BitsPerDim(ByIndex):
    """Mean over images and its standard error: `update(index, bits (B,))`.

    Values are stored by image and added in the images' order, so any number of ranks gives the same last digit.

    Args:
        key: name of the mean; the error's is <key>_error.
    """

    lower_is_better = (True, None)

    def __init__(self, key: str = "bits_per_dim"):
        super().__init__(width=1, row_dtype=torch.float64)
        self.keys = (key, f"{key}_error")

    def update(self, index: Sequence[int] | Tensor, bits: Tensor) -> None:
        """Store the values (B,), float64, of the images `index` (B,)."""
        self.add(index, bits.double().view(-1, 1))

    def compute(self) -> dict[str, float]:
        bits = self.gathered().flatten()
        if len(bits) < 2:  # one image says nothing of the error
            return {self.keys[0]: bits.mean().item()}
        return {self.keys[0]: bits.mean().item(), self.keys[1]: (bits.std() / len(bits) ** 0.5).item()}

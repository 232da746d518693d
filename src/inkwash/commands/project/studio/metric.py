"""A metric of generated images."""

from typing import Any

import torch
from inkwash.metrics.base import Measure
from torch import Tensor


class Brightness(Measure):
    """Mean of all pixels, 0 to 255. Its states are sums, so that several processes reduce exactly."""

    keys = ("brightness",)
    lower_is_better = None  # True or False if one direction is better: best.ckpt follows the first such metric

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), "sum")
        self.add_state("pixels", torch.tensor(0), "sum")

    def observe(self, seen: Any) -> None:
        """Take a batch of generated images, with all that is known of them."""
        self.update(seen.images)

    def update(self, images: Tensor) -> None:
        """Add uint8 images (n, C, H, W)."""
        self.total += images.sum(dtype=torch.float64)
        self.pixels += images.numel()

    def compute(self) -> float:
        """Return the value."""
        return float(self.total) / int(self.pixels)

    def protocol(self) -> dict[str, Any]:
        """Return what else determines the value, to be stored beside it."""
        return {}

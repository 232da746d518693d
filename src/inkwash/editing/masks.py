"""Masks of inpainting: the part of an image to paint."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inkwash.errors import UserError

# Top, bottom, left and right end, as fractions of height and width.
REGIONS = {
    "left": (0.0, 1.0, 0.0, 0.5),
    "right": (0.0, 1.0, 0.5, 1.0),
    "top": (0.0, 0.5, 0.0, 1.0),
    "bottom": (0.5, 1.0, 0.0, 1.0),
    "center": (0.25, 0.75, 0.25, 0.75),
}


class Mask:
    """Mask of the part to paint: a region by name, or the white part of an image file of the images' size.

    Raises:
        UserError: there is neither such a region nor such a file.
    """

    def __init__(self, name: str):
        if name not in REGIONS and not Path(name).expanduser().is_file():
            raise UserError(f"task.mask={name} must be {', '.join(REGIONS)} or an image file, white where to paint")
        self.name = name

    def __call__(self, height: int, width: int) -> Tensor:
        """Return the mask, bool (height, width), True where to paint."""
        mask = self._region(height, width) if self.name in REGIONS else self._file()
        if mask.shape != (height, width):
            raise UserError(
                f"task.mask={self.name} is {mask.shape[0]} x {mask.shape[1]} pixels (height x width), but the images "
                f"are {height} x {width}: give a mask of their size"
            )
        if not bool(mask.any()):
            raise UserError(f"task.mask={self.name} is black everywhere: make white what is to be painted")
        return mask

    def _region(self, height: int, width: int) -> Tensor:
        top, bottom, left, right = REGIONS[self.name]
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
        return mask

    def _file(self) -> Tensor:
        try:
            with Image.open(Path(self.name).expanduser()) as file:
                levels = np.asarray(file.convert("L"))
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... : the file is at fault
            raise UserError(f"task.mask={self.name} cannot be read as an image: give another file") from error
        return torch.from_numpy(levels >= 128)

"""Masks of inpainting: the part of an image to paint."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
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
    """Mask of the part to paint: a region by name, or the white part of an image file.

    The file has the size of the images, or that of the photos they were made of (`fit_to`): then it is scaled and
    cropped as they were.

    Raises:
        UserError: there is neither such a region nor such a file.
    """

    def __init__(self, name: str):
        if name not in REGIONS and not Path(name).expanduser().is_file():
            raise UserError(f"task.mask={name} must be {', '.join(REGIONS)} or an image file, white where to paint")
        self.name, self.photos = name, ()

    @property
    def is_file(self) -> bool:
        return self.name not in REGIONS

    def fit_to(self, photos: Sequence[tuple[int, int]]) -> None:
        """Take masks of the size of photos, (height, width) as they are in their files, and of the same proportions."""
        self.photos = tuple(dict.fromkeys(photos))

    def __call__(self, height: int, width: int) -> Tensor:
        """Return the mask, bool (height, width), True where to paint."""
        mask = self._file(height, width) if self.is_file else self._region(height, width)
        if not bool(mask.any()):
            raise UserError(f"task.mask={self.name} is black everywhere: make white what is to be painted")
        return mask

    def _region(self, height: int, width: int) -> Tensor:
        top, bottom, left, right = REGIONS[self.name]
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
        return mask

    def _file(self, height: int, width: int) -> Tensor:
        try:
            with Image.open(Path(self.name).expanduser()) as file:
                image = self._grey(ImageOps.exif_transpose(file))
        except UserError:
            raise
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... : the file is at fault
            raise UserError(f"task.mask={self.name} cannot be read as an image: give another file") from error
        if image.size != (width, height):
            self._check_size(image.height, image.width, f"{height} x {width}")
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)  # as data/decode.py does
        return torch.from_numpy(np.asarray(image) >= 128)

    def _grey(self, image: Image.Image) -> Image.Image:
        """Return an image in mode L: of deep grey Pillow's own conversion would cut off what is above 255."""
        if not image.mode.startswith(("I", "F")):
            return image.convert("L")
        levels = np.asarray(image)
        if levels.dtype.kind == "f" or levels.min() < 0 or levels.max() > 65535:
            raise UserError(
                f"task.mask={self.name} holds floats or more than 16 bits a pixel, whose range is unknown: save it "
                "with 8 bits, black 0 and white 255"
            )
        return Image.fromarray(np.round(levels / 257).astype(np.uint8))

    def _check_size(self, height: int, width: int, images: str) -> None:
        """Raise UserError unless a mask of this size has the proportions of every photo, to a pixel."""
        others = [photo for photo in self.photos if abs(photo[0] * width / photo[1] - height) > 1]
        if self.photos and not others:
            return
        shown = f", or of the photo's, {others[0][0]} x {others[0][1]}" if others else ""
        raise UserError(
            f"task.mask={self.name} is {height} x {width} pixels (height x width), but the images are {images}: give a "
            f"mask of their size{shown}"
        )

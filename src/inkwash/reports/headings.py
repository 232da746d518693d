"""Write the names of classes above the columns of a grid."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

HEIGHT = 16  # pixels of the line of names
SIZE = 11  # of the letters


def with_headings(sheet: Tensor, names: Sequence[str], gap: int = 2) -> Tensor:
    """Return a grid, uint8 (3, height, width), with a name above each of its len(names) columns.

    A name that is wider than its column is cut short.

    Args:
        gap: white pixels between the columns, as in `grid`.
    """
    width = sheet.shape[2]
    line = Image.new("RGB", (width, HEIGHT), "white")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(SIZE)
    column = (width - gap) // len(names)
    for i, name in enumerate(names):
        text = name
        while len(text) > 1 and draw.textlength(text, font) > column - gap:
            text = text.removesuffix("…")[:-1] + "…"
        draw.text((gap + i * column + (column - gap) / 2, HEIGHT / 2), text, "black", font, "mm")
    return torch.cat([torch.from_numpy(np.array(line)).permute(2, 0, 1), sheet], dim=1)


def headed(sheet: Tensor, columns: int, classes: Sequence[str]) -> Tensor:
    """Return a grid whose image i is of class i mod K with the classes' names, if each column is of one class."""
    if not classes or columns % len(classes):
        return sheet
    return with_headings(sheet, [classes[i % len(classes)] for i in range(columns)])

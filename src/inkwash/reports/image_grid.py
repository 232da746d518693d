"""Lay images out in grids and write them as PNG files. What is shown is what there is, whatever the channels.

1 and 3 channels are grey and RGB, 4 are RGBA: files have all four, grids lie on a checkerboard. 2 channels are shown as
red and green; more than 4 side by side, each in grey.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from inkwash.files import replacing

OF_FILES = (1, 3, 4)  # channels of PNG files
BOARD = 8  # side of a square of the checkerboard, in pixels of the grid
LIGHT, DARK = 255, 204  # its levels, as image editors have them
# Larger grids take minutes to open: Pillow warns from 89 million pixels on, browsers have no canvas wider than 16384.
MOST_IMAGES, MOST_PIXELS, MOST_COLUMNS = 1000, 80_000_000, 32


def grid(images: Tensor, columns: int, min_side: int = 64, gap: int = 2) -> Tensor:
    """Lay uint8 images (n, C, H, W) out row by row on white: uint8 (3, height, width).

    Small images are enlarged by whole factors, pixels repeated, until their shorter side has at least min_side pixels.
    """
    n, _, height, width = images.shape
    factor = _factor(height, width, min_side)
    images = visible(images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)).expand(-1, 3, -1, -1)
    rows, (height, width) = -(-n // columns), images.shape[2:]
    sheet = torch.full((3, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, dtype=torch.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def most_images(shape: tuple[int, ...], width: int = 1, min_side: int = 64) -> int:
    """Return how many rows of `width` images (C, H, W) a grid may show that a person can open, at least one."""
    channels, height, image_width = shape
    tile = _factor(height, image_width, min_side) ** 2 * height * image_width
    pixels = width * tile * (1 if channels <= max(OF_FILES) else channels)
    return max(1, min(MOST_IMAGES, MOST_PIXELS // pixels))


def usual_columns(count: int, num_classes: int | None) -> int:
    """Return the columns of a grid of `count` images: one for each class, or as many as rows if those are too many."""
    return num_classes if num_classes and num_classes <= MOST_COLUMNS else max(1, round(count**0.5))


def visible(images: Tensor) -> Tensor:
    """Convert images uint8 (n, C, H, W) to 1 or 3 channels: see the top of this file."""
    channels = images.shape[1]
    if channels in (1, 3):
        return images
    if channels == 2:
        return torch.cat([images, torch.zeros_like(images[:, :1])], dim=1)
    return _on_checkerboard(images) if channels == 4 else torch.cat([*images.split(1, dim=1)], dim=3)


def save_png(image: Tensor, path: Path) -> None:
    """Write a uint8 image (C, H, W) as PNG, whole or not at all; other channels than 1, 3 and 4 as they are shown."""
    image = image if len(image) in OF_FILES else visible(image[None])[0]
    pixels = image.permute(1, 2, 0).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels).save(partial, format="png")


def _factor(height: int, width: int, min_side: int) -> int:
    return max(1, -(-min_side // min(height, width)))


def _on_checkerboard(images: Tensor) -> Tensor:
    """Compose RGBA images (n, 4, H, W) with a checkerboard: (n, 3, H, W)."""
    colour, alpha = images[:, :3].int(), images[:, 3:].int()
    rows, columns = (torch.arange(side, device=images.device) // BOARD for side in images.shape[2:])
    board = torch.where((rows[:, None] + columns) % 2 == 0, LIGHT, DARK)
    return ((alpha * colour + (255 - alpha) * board + 127) // 255).to(torch.uint8)

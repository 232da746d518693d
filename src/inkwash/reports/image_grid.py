"""Lay images out in grids and write them as PNG files."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from inkwash.files import replacing


def grid(images: Tensor, columns: int, min_side: int = 64, gap: int = 2) -> Tensor:
    """Lay uint8 images (n, C, H, W) out row by row on white: uint8 (3, height, width).

    Small images are enlarged by whole factors, pixels repeated, until their shorter side has at least min_side pixels.
    """
    images = visible(images).expand(-1, 3, -1, -1)
    n, _, height, width = images.shape
    factor = max(1, -(-min_side // min(height, width)))
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    rows, (height, width) = -(-n // columns), images.shape[2:]
    sheet = torch.full((3, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, dtype=torch.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def visible(images: Tensor) -> Tensor:
    """Convert images (n, C, H, W) to 1 or 3 channels: a black one is added to 2, of more than 3 the first 3 remain."""
    if images.shape[1] == 2:
        return torch.cat([images, torch.zeros_like(images[:, :1])], dim=1)
    return images if images.shape[1] == 1 else images[:, :3]


def save_png(image: Tensor, path: Path) -> None:
    """Write a uint8 image (1 or 3, H, W) as PNG, whole or not at all."""
    pixels = image.permute(1, 2, 0).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels).save(partial, format="png")

"""Pictures in a page: cut out of PNG files, packed, and written as data URIs. Without torch.

Small images are stored at their own size and enlarged by the browser, so that a grid of 80 digits takes 5 kB.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

GAP, HEADING = 2, 16  # of the grids that image_grid.py and headings.py write
LOSSLESS = 24_000  # bytes of a PNG above which a WebP takes its place
MOST_PIXELS = 2_000_000  # of a picture: larger ones are made smaller
SHOWN = 56  # pixels of the shorter side of an image on the page, at least
DAMAGED = (OSError, UnidentifiedImageError, ValueError, SyntaxError)  # what Pillow raises for bytes that are no image


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        uri: data URI.
        width, height: on the page, in CSS pixels.
        alt: what is seen, for those who do not see it.
    """

    uri: str
    width: int
    height: int
    alt: str


def picture(pixels: np.ndarray, alt: str, side: int | None = None) -> Picture:
    """Encode pixels uint8 (H, W, 3).

    Args:
        side: shorter side in pixels of the images that `pixels` consists of: they are enlarged to SHOWN pixels by a
            whole factor; None for the size as it is.
    """
    height, width = pixels.shape[:2]
    factor = max(1, -(-SHOWN // side)) if side else 1
    if (much := pixels.size / 3 / MOST_PIXELS) > 1:
        smaller = Image.fromarray(pixels).resize((round(width / much**0.5), round(height / much**0.5)))
        pixels = np.asarray(smaller)
    return Picture(encoded(pixels), width * factor, height * factor, alt)


def encoded(pixels: np.ndarray) -> str:
    """Return pixels uint8 (H, W, 3) as a data URI: PNG, or WebP where that would be large."""
    image = Image.fromarray(pixels)
    if bool((pixels == pixels[:, :, :1]).all()):
        image = image.convert("L")
    file, kind = io.BytesIO(), "png"
    image.save(file, "png", optimize=pixels.size < 500_000)
    if file.tell() > LOSSLESS and max(pixels.shape) < 16_000:
        file, kind = io.BytesIO(), "webp"
        image.convert("RGB").save(file, "webp", quality=80, method=2)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def read_pixels(path: Path) -> np.ndarray | None:
    """Read an image file as uint8 (H, W, 3); None if it is missing, half written or damaged."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except DAMAGED:
        return None


def tiles(sheet: np.ndarray, shape: Sequence[int], columns: int) -> np.ndarray | None:
    """Cut a grid of image_grid.py, uint8 (H, W, 3), into its images at their own size, (n, h, w, 3).

    They are rows * columns: where the grid has fewer images than that, the last ones are white.

    Args:
        shape: (C, h, w) of an image.
        columns: of the grid.

    Returns:
        None if the sheet is no such grid.
    """
    _, height, width = shape
    factor = max(1, -(-64 // min(height, width)))
    high = height * factor + GAP
    rows, rest = divmod(sheet.shape[0] - GAP, high)
    wide, odd = divmod(sheet.shape[1] - GAP, columns)
    if rest not in (0, HEADING) or odd or rows < 1 or (wide - GAP) % (width * factor):
        return None
    body = sheet[sheet.shape[0] - GAP - rows * high :]
    cut = [
        body[GAP + i * high : (i + 1) * high : factor, GAP + j * wide : (j + 1) * wide : factor]
        for i in range(rows)
        for j in range(columns)
    ]
    return np.stack(cut)


def laid_out(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay images (n, h, w, 3) out row by row, a white line of a pixel between them: (H, W, 3)."""
    n, height, width, _ = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet


@lru_cache(maxsize=256)
def grid_picture(path: Path, changed: float, shape: tuple[int, ...], columns: int, alt: str) -> Picture | None:
    """Return the picture of a grid's file, None if it cannot be read. A file is encoded once a process.

    Args:
        changed: the file's time of change.
    """
    sheet = read_pixels(path)
    if sheet is None:
        return None
    images = tiles(sheet, shape, columns)
    if images is None:
        return picture(sheet, alt)
    return picture(laid_out(images, columns), alt, min(images.shape[1:3]))


@dataclass(frozen=True)
class Process:
    """Images at several times of a process, as drawings.save_process stores them.

    Attributes:
        images: uint8 (rows, frames, h, w, 3).
        facts: the file's JSON: `rows`, names of the rows' groups, and `frames`, a dictionary for each.
    """

    images: np.ndarray
    facts: dict[str, Any]

    @property
    def groups(self) -> list[tuple[str, np.ndarray]]:
        """The images of each group of rows, (n, frames, h, w, 3), with its name."""
        names = self.facts["rows"]
        return list(zip(names, np.split(self.images, len(names)), strict=True))


def read_process(path: Path) -> Process | None:
    """Read what drawings.save_process wrote; None if it is missing or damaged."""
    pixels = read_pixels(path)
    try:
        facts = json.loads(path.with_suffix(".json").read_text("utf-8"))
        count, columns = facts["count"] * len(facts["rows"]), len(facts["frames"])
        height, width = facts["height"], facts["width"]
        if pixels is None or pixels.shape[:2] != (count * height, columns * width):
            return None
        return Process(pixels.reshape(count, height, columns, width, 3).transpose(0, 2, 1, 3, 4), facts)
    except (*DAMAGED, LookupError, TypeError, AttributeError):
        return None

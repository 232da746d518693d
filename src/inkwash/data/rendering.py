"""From the pixels of an image file to levels 0 .. 255: a stated range, and a background behind transparency."""

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from inkwash.data.reading import CorruptImageError
from inkwash.errors import UserError

# Unpackers of Pillow that take the low byte of each 16-bit value where the file's own takes the high byte.
# "LA;16B" has none: "RGBA" reads its four bytes as they are.
LOW = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B", "LA;16B": "RGBA"}
LOW |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}


@dataclass(frozen=True)
class Rendering:
    """What `data.source` says about pixels; its repr is part of the names of caches.

    A level v of the file becomes 255 (v - black) / (white - black), rounded and clipped to 0 .. 255.

    Attributes:
        black: level that becomes 0, in the file's own units; null for 0.
        white: level that becomes 255; null for the largest one of the file's type, 255 or 65535. Floats have none.
        background: colour behind transparent pixels for images of 1 or 3 channels, a name or [red, green, blue];
            null to refuse them.
    """

    black: float | None = None
    white: float | None = None
    background: str | Sequence[int] | None = None

    def __post_init__(self):
        for key in ("black", "white"):
            if (level := getattr(self, key)) is not None and not math.isfinite(level):
                raise UserError(f"data.source.{key}={level} must be a level of the images, a finite number, or null")
        if self.white is not None and (self.black or 0) >= self.white:
            raise UserError(
                f"data.source.black={self.black or 0} is not below data.source.white={self.white}: "
                "black is the level that becomes 0, white the one that becomes 255"
            )
        if self.background is not None:
            object.__setattr__(self, "background", _colour(self.background))

    @property
    def stated(self) -> bool:
        """True if a range is given."""
        return self.black is not None or self.white is not None

    def scaled(self, levels: np.ndarray, name: str) -> np.ndarray:
        """Return levels of any type as uint8, of the same shape.

        Raises:
            UserError: the range is unknown or does not fit the type of the levels.
            CorruptImageError: there are values that are not numbers.
        """
        white = self.white if self.white is not None else _largest(levels)
        if white is None or (not self.stated and (levels.min() < 0 or levels.max() > white)):
            raise UserError(
                f"{name} holds floats or more than 16 bits a pixel, whose range is unknown: "
                "add data.source.black=... and data.source.white=..., the levels that become 0 and 255"
            )
        if levels.dtype.kind == "f" and np.isnan(levels).any():
            raise CorruptImageError(
                f"{name} holds values that are not numbers (NaN): remove or repair it, or add "
                "data.source.skip_corrupt=true"
            )
        black = self.black or 0
        if black >= white or (levels.dtype == np.uint8 and white > 255):
            raise UserError(
                f"{name} has {8 * levels.dtype.itemsize} bits a channel, which data.source.black={self.black} and "
                f"data.source.white={self.white} do not fit: give levels of the file"
            )
        if not self.stated:
            return np.round(levels / (white / 255)).astype(np.uint8)
        return np.round(np.clip((levels.astype(np.float64) - black) / (white - black), 0, 1) * 255).astype(np.uint8)

    def flattened(self, image: Image.Image, name: str) -> Image.Image:
        """Return an RGBA image as RGB, on the background if it is not opaque."""
        if image.getchannel("A").getextrema() == (255, 255):
            return image.convert("RGB")
        if self.background is None:
            raise UserError(
                f"{name} is partly transparent: use data.shape=[4,H,W], or add data.source.background=white"
            )
        below = Image.new("RGBA", image.size, (*self.background, 255))  # pyright: ignore[reportArgumentType]
        return Image.alpha_composite(below, image).convert("RGB")


AS_IT_IS = Rendering()


def colour_levels(image: Image.Image, kind: str | None, content: bytes) -> np.ndarray:
    """Return all bits of a colour image, uint8 or uint16 (H, W, 3); of 16 bits Pillow itself drops the low byte.

    Args:
        image: as Pillow reads it, RGB or RGBA, not rotated.
        kind: the format of its file.
        content: its file.
    """
    high = np.asarray(image)[..., :3]
    if kind not in ("PNG", "TIFF"):
        return high
    with Image.open(io.BytesIO(content), formats=[kind]) as again:
        raw = [_raw(tile[3]) for tile in again.tile]
        if not raw or any(mode not in LOW for mode in raw):
            return high
        again.tile = [_with_raw(tile, LOW[mode]) for tile, mode in zip(again.tile, raw, strict=True)]
        low = np.asarray(again)
    if raw[0] == "LA;16B":
        return np.repeat(256 * low[..., :1].astype(np.uint16) + low[..., 1:2], 3, -1)
    return 256 * high.astype(np.uint16) + low[..., :3]


def _raw(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _with_raw(tile: Any, mode: str) -> Any:
    arguments = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    # Tiles are named tuples since Pillow 11.
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _largest(levels: np.ndarray) -> int | None:
    """Return the largest level of a type, None if it is unknown."""
    if levels.dtype.kind == "f":
        return None
    return 255 if levels.dtype == np.uint8 else 65535


def _colour(value: str | Sequence[int]) -> tuple[int, int, int]:
    """Return red, green and blue of a colour's name or numbers."""
    try:
        found = ImageColor.getrgb(value)[:3] if isinstance(value, str) else tuple(value)
        red, green, blue = found if len(found) == 3 else 3 * found
        if all(type(level) is int and 0 <= level <= 255 for level in (red, green, blue)):
            return red, green, blue
    except (ValueError, TypeError):
        pass
    raise UserError(f"data.source.background={value} is not a colour: give white, black, '#rrggbb' or [red,green,blue]")

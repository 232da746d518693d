"""Images in tables that are no files: arrays of pixels, and files as base64 text."""

import base64
import binascii
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from inkwash.data.reading import NoImage, Scaled
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError

CHANNELS = (1, 3, 4)  # numbers of channels that an image has
WHITES = (1023, 4095, 16383, 65535)  # largest levels of 10, 12, 14 and 16 bits
# How PNG, JPEG, WebP, GIF and BMP files begin in base64; as the beginning of a path they make no sense.
BASE64 = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "Qk0")


def file_of(value: object, rendering: Rendering) -> bytes:
    """Return a list of bytes, a file, as it is, and an array of pixels as PNG; NoImage or b"" for what is no image.

    Levels of arrays are 0 .. 255, unless `rendering` states their range.
    """
    try:
        pixels = np.asarray([] if value is None else value)
    except ValueError:  # rows of different lengths
        return b""
    if pixels.dtype.kind not in "iuf":  # a list with a null, for one
        return b""
    if pixels.ndim == 1:
        return pixels.astype(np.uint8).tobytes()
    if pixels.ndim not in (2, 3) or not pixels.size:
        return b""
    if pixels.ndim == 3 and pixels.shape[-1] not in CHANNELS:
        if pixels.shape[0] not in CHANNELS:
            return NoImage(
                f"its array of shape {pixels.shape} has neither 1, 3 nor 4 channels: store arrays (H, W), (H, W, C) or "
                "(C, H, W)"
            )
        pixels = pixels.transpose(1, 2, 0)  # channels first
    if (problem := _unclear(pixels, rendering)) is not None:
        return problem
    try:
        levels = _levels(pixels, rendering) if rendering.stated else pixels.astype(np.uint8)
    except UserError as error:
        return NoImage(str(error), corrupt=False)
    file = io.BytesIO()
    levels = levels[..., 0] if levels.ndim == 3 and levels.shape[-1] == 1 else levels
    Image.fromarray(np.ascontiguousarray(levels)).save(file, "PNG", compress_level=1)
    return Scaled(file.getvalue()) if rendering.stated else file.getvalue()


def file_of_text(text: str) -> bytes | None:
    """Return the file that is stored as base64 or as a data URL, None for a text that is a path."""
    text = text.partition(";base64,")[2] if text.startswith("data:image/") else text
    if not text.startswith(BASE64):
        return None
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        return None


def _unclear(pixels: np.ndarray, rendering: Rendering) -> NoImage | None:
    """Return why the levels of an array are unknown."""
    if pixels.dtype.kind == "f" and np.isnan(pixels).any():
        return NoImage("its array holds values that are not numbers (NaN): remove or repair it")
    low, high = float(pixels.min()), float(pixels.max())
    if rendering.stated or (pixels.dtype.kind != "f" and low >= 0 and high <= 255):
        return None
    # Nothing tells the range of such arrays, as one of few levels looks like one of 8 bits. To pass over those beyond
    # 255 would drop the bright images.
    if pixels.dtype.kind == "f":
        likely, text = f"data.source.black={-1 if low < 0 else 0} data.source.white={1 if high <= 1 else 255}", "floats"
    else:
        white = next((white for white in WHITES if white >= high), high)
        likely, text = f"data.source.black={low:g} " * (low < 0) + f"data.source.white={white:g}", "levels"
    return NoImage(
        f"its array holds {text} {low:g} .. {high:g}, but arrays of pixels hold whole numbers 0 .. 255 if no range is "
        f"stated: add the levels of all arrays that become 0 and 255, perhaps {likely}",
        corrupt=False,
    )


def _levels(pixels: np.ndarray, rendering: Rendering) -> np.ndarray:
    """Return levels as uint8 by the stated range; alpha, a fourth channel, has its white alone."""
    white = 255.0 if rendering.white is None and pixels.dtype.kind != "f" else rendering.white
    rendering = replace(rendering, white=white)
    if pixels.ndim == 2 or pixels.shape[-1] < 4:
        return rendering.scaled(pixels, "its array")
    alpha = replace(rendering, black=None).scaled(pixels[..., 3:], "its array")
    return np.concatenate([rendering.scaled(pixels[..., :3], "its array"), alpha], -1)

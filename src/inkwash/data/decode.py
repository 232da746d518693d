"""Decode image files to uint8 tensors, without any loss that the configuration does not ask for."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from inkwash.errors import UserError

# Raster formats. Pillow reads more: EPS by running Ghostscript, and some formats only with a plug-in.
FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA",
    "TIFF", "WEBP",
)  # fmt: skip
# Pillow raises DecompressionBombError at twice the number of pixels that it warns at; a photograph may have so many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class CorruptImageError(UserError):
    """The bytes are not an image, or a damaged one: the error that `data.source.skip_corrupt=true` ignores."""


def decode(source: bytes | Path, shape: tuple[int, int, int], resize: bool, name: str) -> Tensor:
    """Decode one image and apply its EXIF rotation.

    Channels are added if `shape` has more (grey to RGB, opaque to RGBA), and dropped only if they hold no information:
    colour if the three channels are equal, alpha if it is opaque. 16-bit grey is scaled by 255 / 65535; of 16-bit
    colour Pillow reads the high bytes, at most one level less. Of an animation the first frame is read. Floats are
    refused, because their range is unknown.

    Args:
        source: the file or its bytes.
        shape: (C, H, W) of the result, C one of 1, 3, 4.
        resize: scale (bicubic, antialiased) until the image covers H x W, then crop the centre.
        name: the image's name in errors.

    Returns:
        uint8 (C, H, W).

    Raises:
        CorruptImageError: `source` is not an image that Pillow can read.
        UserError: size or channels are not those of `shape`.
    """
    channels, height, width = shape
    image = _with_channels(_read(source, name), channels, name)
    if resize:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    if image.size != (width, height):
        raise UserError(
            f"{name} is {image.height} x {image.width} pixels (height x width), but data.shape asks for "
            f"{height} x {width}: add data.source.resize=true to scale and crop, or correct data.shape"
        )
    pixels = torch.from_numpy(np.array(image))
    return pixels.view(height, width, channels).permute(2, 0, 1).contiguous()


def is_image(file: Path) -> bool:
    """Tell by its first bytes whether a file is an image of a format that `decode` reads."""
    try:
        with Image.open(file, formats=_formats()):
            return True
    except Exception:  # see _read
        return False


def size_of(source: bytes | Path) -> tuple[int, int]:
    """Return height and width of an image that can be decoded, from its header, upright as `decode` turns it."""
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as file:
        turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (file.width, file.height) if turned else (file.height, file.width)


def _read(source: bytes | Path, name: str) -> Image.Image:
    """Read the image, rotated upright, in the smallest of the modes L, RGB and RGBA that holds it."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as file:
            image = ImageOps.exif_transpose(file)
        if image.mode.startswith(("I", "F")):
            return _from_16_bits(image, name)
        if image.has_transparency_data:
            return image.convert("RGBA")
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise CorruptImageError(
            f"{name} declares more than {limit:,} pixels: scale it down, or add data.source.skip_corrupt=true"
        ) from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, ...: Pillow has no common class
        raise CorruptImageError(
            f"{name} cannot be read as an image: remove or repair it, or add data.source.skip_corrupt=true"
        ) from error


@cache
def _formats() -> list[str]:
    """Return those of FORMATS that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _from_16_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips some of these modes at 255 instead."""
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise UserError(f"{name} holds floats or more than 16 bits a pixel, whose range is unknown: save it as 8 bits")
    return Image.fromarray(np.round(levels / 257).astype(np.uint8))


def _with_channels(image: Image.Image, channels: int, name: str) -> Image.Image:
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, not the {channels} of data.shape")
    if image.mode == "RGBA" and channels < 4:
        if image.getchannel("A").getextrema() != (255, 255):
            raise UserError(f"{name} is partly transparent: use data.shape=[4, H, W], or flatten the image")
        image = image.convert("RGB")
    if image.mode == "RGB" and channels == 1:
        red, green, blue = (channel.tobytes() for channel in image.split())
        if not red == green == blue:
            raise UserError(f"{name} is in colour, but data.shape has one channel: use data.shape=[3, H, W]")
        image = image.getchannel("R")
    return image.convert(MODES[channels])

"""Decode image files to uint8 tensors, without any loss that the configuration does not ask for."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from inkwash.data.opening import FORMATS as FORMATS
from inkwash.data.opening import is_image as is_image
from inkwash.data.opening import loaded, upright
from inkwash.data.opening import pages_of as pages_of
from inkwash.data.opening import size_of as size_of
from inkwash.data.reading import CorruptImageError as CorruptImageError
from inkwash.data.reading import NoImage, Scaled, content_of, patiently, stranger
from inkwash.data.rendering import AS_IT_IS, Rendering, colour_levels
from inkwash.errors import UserError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode(
    source: bytes | Path, shape: tuple[int, int, int], resize: bool, name: str, rendering: Rendering = AS_IT_IS
) -> Tensor:
    """Decode one image and apply its EXIF rotation.

    Channels are added if `shape` has more (grey to RGB, opaque to RGBA), and dropped only if they hold no information:
    colour if the three channels are equal, alpha if it is opaque or there is a background. Colour under alpha 0 is
    black. 16-bit grey is scaled by 255 / 65535; of 16-bit colour Pillow reads the high bytes, at most one level less,
    unless a range is stated. Floats need a stated range. Of an animation or a document the first frame is read.
    CMYK with a colour profile and Lab are converted to sRGB; profiles of RGB images are not applied.

    Args:
        source: the file or its bytes.
        shape: (C, H, W) of the result, C one of 1, 3, 4.
        resize: scale (bicubic, antialiased) until the image covers H x W, then crop the centre.
        name: the image's name in errors.
        rendering: range of levels and background.

    Returns:
        uint8 (C, H, W).

    Raises:
        CorruptImageError: `source` is not an image that Pillow can read.
        UserError: size or channels are not those of `shape`, or the file cannot be read for now.
    """
    return patiently(lambda: _decode(source, shape, resize, name, rendering), name)


def _decode(source: bytes | Path, shape: tuple[int, int, int], resize: bool, name: str, rendering: Rendering) -> Tensor:
    channels, height, width = shape
    try:
        read = _read(source, name, rendering)
    except CorruptImageError as error:
        if isinstance(source, bytes) and source and len(source) == channels * height * width:
            raise CorruptImageError(
                f"{name} cannot be read as an image: its {len(source):,} bytes are as many as the pixels of an image, "
                "but nothing tells their order: store arrays of pixels (H, W, C), or files"
            ) from error
        raise
    image = _with_channels(read, channels, name, rendering)
    if resize:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    if image.size != (width, height):
        raise UserError(
            f"{name} is {image.height} x {image.width} pixels (height x width), but data.shape asks for "
            f"{height} x {width}: add data.source.resize=true to scale and crop, or correct data.shape"
        )
    pixels = np.array(image).reshape(height, width, channels)
    if channels == 4:
        pixels[pixels[..., 3] == 0] = 0  # what is hidden there may be noise, which a network would learn
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _read(source: bytes | Path, name: str, rendering: Rendering) -> Image.Image:
    """Read the image, rotated upright, in the smallest of the modes L, RGB and RGBA that holds it."""
    content = b""
    if isinstance(source, NoImage):
        if source.corrupt:
            raise CorruptImageError(f"{name}: {source.reason}, or add data.source.skip_corrupt=true")
        raise UserError(f"{name}: {source.reason}")
    if isinstance(source, Scaled):
        rendering = replace(rendering, black=None, white=None)
    try:
        content = source if isinstance(source, bytes) else content_of(source)
        file, content = loaded(content)
        return upright(_with_levels(file, content, name, rendering), file)
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise CorruptImageError(
            f"{name} declares more than {limit:,} pixels: scale it down, or add data.source.skip_corrupt=true"
        ) from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, ...: Pillow has no common class
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptImageError(f"{name} cannot be read as an image: {_advice(content, error)}") from error


def _with_levels(file: Image.Image, content: bytes, name: str, rendering: Rendering) -> Image.Image:
    """Return the image in mode L, RGB or RGBA, its levels in 0 .. 255."""
    if file.mode.startswith(("I", "F")):
        return _from_deep_grey(file, content, name, rendering)
    image = _in_a_known_mode(file)
    if not rendering.stated:
        return image
    levels = (
        _as_in_file(image, file.format, content) if image.mode == "L" else colour_levels(image, file.format, content)
    )
    scaled = rendering.scaled(levels, name)
    if image.mode == "RGBA":
        scaled = np.concatenate([scaled, np.asarray(image)[..., 3:]], -1)
    return Image.fromarray(scaled)


def _in_a_known_mode(file: Image.Image) -> Image.Image:
    if file.has_transparency_data:
        return file.convert("RGBA")
    if file.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return _converted(file, ImageCms.ImageCmsProfile(lab), ImageCms.ImageCmsProfile(srgb))
    if file.mode == "CMYK" and (profile := file.info.get("icc_profile")):
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return _converted(file, given, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")))
        except (ImageCms.PyCMSError, OSError, ValueError):  # a profile that is damaged, or not of ink
            return file.convert("RGB")
    return file.convert("L" if file.mode in ("1", "L") else "RGB")


def _converted(file: Image.Image, given: "ImageCms.ImageCmsProfile", srgb: "ImageCms.ImageCmsProfile") -> Image.Image:
    found = ImageCms.profileToProfile(file, given, srgb, outputMode="RGB")
    assert found is not None  # it is None for a change in place
    return found


def _as_in_file(image: Image.Image, kind: str | None, content: bytes) -> np.ndarray:
    """Return the levels of a grey image in the file's own units, which Pillow scales to 8 or 16 bits in PGM files."""
    levels = np.asarray(image)
    if kind != "PPM" or not content.startswith((b"P2", b"P5")):
        return levels
    largest = int(re.sub(rb"#[^\n]*", b"", content[:1024]).split()[3])
    if largest in (255, 65535):
        return levels
    unscaled = levels * (largest / (255 if largest < 256 else 65535))
    return np.round(unscaled).astype(np.uint8 if largest < 256 else np.uint16)


def _from_deep_grey(file: Image.Image, content: bytes, name: str, rendering: Rendering) -> Image.Image:
    """Scale grey of more than 8 bits; Pillow's own conversion clips some of these modes at 255 instead."""
    levels = _as_in_file(file, file.format, content) if rendering.stated else np.asarray(file)
    grey = Image.fromarray(rendering.scaled(levels, name))
    if (hidden := file.info.get("transparency")) is None:
        return grey
    image = grey.convert("RGBA")
    image.putalpha(Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8)))
    return image


def _advice(content: bytes, error: Exception) -> str:
    if known := stranger(content):
        return f"it is {known[0]}; {known[1]}, or add data.source.skip_corrupt=true"
    reason = str(error).partition("\n")[0]
    shown = f" ({reason})" if reason and not isinstance(error, UnidentifiedImageError) else ""
    return f"remove or repair it{shown}, or add data.source.skip_corrupt=true"


def _with_channels(image: Image.Image, channels: int, name: str, rendering: Rendering) -> Image.Image:
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, not the {channels} of data.shape")
    if channels == 4 and rendering.background is not None:
        raise UserError("data.source.background is for images of 1 or 3 channels: remove it, or use data.shape=[3,H,W]")
    if image.mode == "RGBA" and channels < 4:
        image = rendering.flattened(image, name)
    if image.mode == "RGB" and channels == 1:
        red, green, blue = (channel.tobytes() for channel in image.split())
        if not red == green == blue:
            raise UserError(f"{name} is in colour, but data.shape has one channel: use data.shape=[3, H, W]")
        image = image.getchannel("R")
    return image.convert(MODES[channels])

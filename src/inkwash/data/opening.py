"""Open image files with Pillow: which formats, beside large metadata, and how they lie."""

import io
import warnings
from functools import cache
from pathlib import Path

from PIL import ExifTags, Image

from inkwash.data.png import SIGNATURE, without_metadata
from inkwash.data.reading import content_of, patiently

# Raster formats. Pillow reads more: EPS by running Ghostscript, and some formats only with a plug-in.
FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA",
    "TIFF", "WEBP",
)  # fmt: skip
# Those with pages or frames. PSD has layers, of which Pillow makes one image; photographs of telephones (MPO) have a
# preview beside the image.
PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")
# Pillow raises DecompressionBombError at twice the number of pixels that it warns at; a photograph may have so many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What undoes each EXIF orientation.
TURNS = dict(enumerate(
    (
        Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
    ), 2,
))  # fmt: skip


def is_image(source: bytes | Path) -> bool:
    """Tell by its first bytes whether a file is an image of a format that `decode` reads.

    Args:
        source: the file or its bytes.

    Raises:
        UserError: the file cannot be read for now.
    """
    name = "an image" if isinstance(source, bytes) else str(source)
    return patiently(lambda: _is_image(source), name)


def _is_image(source: bytes | Path) -> bool:
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        try:
            with Image.open(stream, formats=_formats()):
                return True
        except Exception as error:  # see _read
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
                raise
        stream.seek(0)
        return stream.read(len(SIGNATURE)) == SIGNATURE  # its metadata were in the way


def size_of(source: bytes | Path) -> tuple[int, int]:
    """Return height and width of an image that can be decoded, from its header, upright as `decode` turns it."""
    return patiently(lambda: _size_of(source), "an image" if isinstance(source, bytes) else str(source))


def _size_of(source: bytes | Path) -> tuple[int, int]:
    content = source if isinstance(source, bytes) else content_of(source)
    try:
        file = Image.open(io.BytesIO(content), formats=_formats())
    except ValueError:
        file = Image.open(io.BytesIO(without_metadata(content)), formats=_formats())
    return (file.width, file.height) if _orientation(file) >= 5 else (file.height, file.width)


def pages_of(source: bytes | Path) -> int:
    """Return the number of pages of a TIFF file, or of frames of an animation; 1 for other images."""
    return patiently(lambda: _pages_of(source), "an image" if isinstance(source, bytes) else str(source))


def _pages_of(source: bytes | Path) -> int:
    content = source if isinstance(source, bytes) else content_of(source)
    try:
        file = Image.open(io.BytesIO(content), formats=_formats())
        return getattr(file, "n_frames", 1) if file.format in PAGED else 1
    except MemoryError:
        raise
    except Exception:  # damage after the first page, which was decoded
        return 1


def loaded(content: bytes) -> tuple[Image.Image, bytes]:
    """Open and decode a file; return it and its content, of a PNG without the metadata if they are in the way."""
    try:
        return _opened(content), content
    except ValueError:
        if not content.startswith(SIGNATURE):
            raise
        plain = without_metadata(content)
        return _opened(plain), plain


def _opened(content: bytes) -> Image.Image:
    file = Image.open(io.BytesIO(content), formats=_formats())
    file.load()
    # Pillow reads 16-bit samples of channels apart as 8-bit ones, without a word, if they are not compressed.
    tags = getattr(file, "tag_v2", {})
    if tags.get(284) == 2 and tags.get(259, 1) == 1 and max(tags[258]) > 8:
        raise ValueError("a TIFF file of 16 bits with its channels apart: Pillow misreads it")
    return file


@cache
def _formats() -> list[str]:
    """Return those of FORMATS that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def upright(image: Image.Image, file: Image.Image) -> Image.Image:
    """Undo the rotation that the file's EXIF or XMP names."""
    turn = TURNS.get(_orientation(file))
    return image if turn is None else image.transpose(turn)


def _orientation(file: Image.Image) -> int:
    """Return the EXIF orientation of a file, 1 (upright) if its EXIF is damaged."""
    try:
        return int(file.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as many kinds as for an image
        return 1

"""Chunks of PNG files that hold text or colour profiles, which Pillow refuses if they are large."""

import struct

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Text that turns the picture: EXIF as ImageMagick writes it, and XMP.
TURNING = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")


def without_metadata(png: bytes) -> bytes:
    """Return a PNG file without its text and its colour profile, whatever their size; its pixels are the same.

    Text that may hold the picture's rotation stays.
    """
    parts, position = [png[:8]], 8
    while position + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        turning = png.startswith(TURNING, position + 8)
        if kind not in (b"iCCP", b"tEXt", b"zTXt", b"iTXt") or turning:
            parts.append(png[position:end])
        position = end
    return b"".join([*parts, png[position:]])

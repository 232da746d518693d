import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.data.decode import CorruptImageError, decode
from inkwash.errors import UserError


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_come_through_unchanged_and_upright(encode, noise, channels, tmp_path):
    pixels = noise(5, 7, channels)
    (tmp_path / "a.png").write_bytes(encode(pixels))
    for source in (tmp_path / "a.png", encode(pixels)):
        image = decode(source, (channels, 5, 7), False, "a.png")
        assert image.is_contiguous()
        assert torch.equal(image, chw(pixels))


def test_grey_is_repeated_for_three_channels(encode, noise):
    grey = noise(4, 4)
    assert torch.equal(decode(encode(grey), (3, 4, 4), False, "a"), torch.from_numpy(grey).expand(3, 4, 4))


def test_colour_becomes_one_channel_only_where_it_is_grey(encode, noise):
    grey = noise(4, 4)
    assert torch.equal(decode(encode(np.stack([grey] * 3, -1)), (1, 4, 4), False, "a")[0], torch.from_numpy(grey))
    with pytest.raises(UserError, match=r"red\.png is in colour.*data\.shape=\[3, H, W\]"):
        decode(encode(noise(4, 4, 3)), (1, 4, 4), False, "red.png")


def test_alpha_is_dropped_only_where_it_is_opaque(encode, noise):
    pixels = noise(4, 4, 4)
    pixels[..., 3] = 255
    assert torch.equal(decode(encode(pixels), (3, 4, 4), False, "a"), chw(pixels[..., :3].copy()))
    pixels[0, 0, 3] = 254
    with pytest.raises(UserError, match=r"glass\.png is partly transparent.*data\.shape=\[4, H, W\]"):
        decode(encode(pixels), (3, 4, 4), False, "glass.png")


def test_a_palette_is_looked_up():
    indices = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).convert("P")
    indices.putpalette([250, 10, 20, 0, 90, 200])
    image = decode(saved(indices, "PNG"), (3, 2, 2), False, "a")
    assert image[:, 0, 0].tolist() == [250, 10, 20]
    assert image[:, 0, 1].tolist() == [0, 90, 200]


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    assert decode(saved(cyan, "TIFF"), (3, 2, 2), False, "a")[:, 0, 0].tolist() == [0, 255, 255]


def test_one_bit_becomes_black_and_white():
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(saved(bits, "PNG"), (1, 1, 2), False, "a").tolist() == [[[0, 255]]]


def test_sixteen_bits_are_scaled_not_clipped(encode):
    levels = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decode(encode(levels), (1, 1, 4), False, "a").tolist() == [[[0, 1, 128, 255]]]


def test_floats_are_refused():
    with pytest.raises(UserError, match=r"heat\.tiff holds floats"):
        decode(saved(Image.new("F", (2, 2), 0.5), "TIFF"), (1, 2, 2), False, "heat.tiff")


def test_exif_rotation_is_applied(noise):
    pixels = noise(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees, clockwise
    image = decode(saved(Image.fromarray(pixels), "PNG", exif=exif), (3, 3, 2), False, "a")
    assert torch.equal(image, chw(np.rot90(pixels, -1).copy()))


def test_another_size_is_refused_by_name_with_the_key_to_add(encode, noise):
    with pytest.raises(UserError, match=r"tall\.png is 9 x 4 pixels.*4 x 4.*data\.source\.resize=true"):
        decode(encode(noise(9, 4)), (1, 4, 4), False, "tall.png")


def test_resizing_covers_the_size_and_crops_the_centre(encode):
    pixels = np.zeros((20, 60), dtype=np.uint8)
    pixels[:, 20:40] = 200  # the middle third is all that a square crop keeps
    assert decode(encode(pixels), (1, 10, 10), True, "a")[0, :, 2:8].unique().tolist() == [200]


def test_resizing_is_antialiased(encode):
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = decode(encode(stripes), (1, 8, 8), True, "a").float()
    assert (small - 127.5).abs().max() < 20  # sampling every 8th column would give all 0 or all 255


@pytest.mark.parametrize("damage", [lambda png: b"", lambda png: b"hello", lambda png: png[: len(png) // 2]])
def test_a_file_that_is_not_an_image_is_refused_by_name(encode, noise, damage):
    with pytest.raises(CorruptImageError, match=r"bad\.png cannot be read.*data\.source\.skip_corrupt=true"):
        decode(damage(encode(noise(32, 32, 3))), (3, 32, 32), False, "bad.png")


def test_two_channels_are_refused(encode, noise):
    with pytest.raises(UserError, match=r"not the 2 of data\.shape"):
        decode(encode(noise(4, 4)), (2, 4, 4), False, "a")


# --- Unusual, but honest ----------------------------------------------------------------------------------------------


def test_sixteen_bit_colour_keeps_its_high_bytes():
    levels = np.array([[[0, 257, 65535], [0x12FF, 0x3400, 0x56AB]]], dtype=np.uint16)
    png = sixteen_bit_png(levels)
    assert Image.open(io.BytesIO(png)).size == (2, 1)
    image = decode(png, (3, 1, 2), False, "a")
    assert image[:, 0, 0].tolist() == [0, 1, 255]
    assert image[:, 0, 1].tolist() == [0x12, 0x34, 0x56]


def sixteen_bit_png(levels: np.ndarray) -> bytes:
    """Of uint16 (H, W, 3), which Pillow cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_sixteen_bit_grey_of_a_tiff_is_scaled():
    levels = np.array([[0, 128, 129, 32768, 65535]], dtype=np.uint16)
    assert decode(saved(Image.fromarray(levels), "TIFF"), (1, 1, 5), False, "a").tolist() == [[[0, 0, 1, 128, 255]]]


def test_a_palette_with_transparency_becomes_colour_and_alpha():
    indices = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    indices.putpalette([250, 10, 20, 0, 90, 200])
    image = decode(saved(indices, "PNG", transparency=1), (4, 1, 2), False, "a")
    assert image[:, 0, 0].tolist() == [250, 10, 20, 255]
    assert image[:, 0, 1].tolist() == [0, 90, 200, 0]


def test_grey_with_alpha():
    pixels = np.array([[[7, 255], [200, 255]]], dtype=np.uint8)
    opaque = saved(Image.fromarray(pixels, "LA"), "PNG")
    assert decode(opaque, (1, 1, 2), False, "a").tolist() == [[[7, 200]]]
    assert decode(opaque, (4, 1, 2), False, "a")[:, 0, 1].tolist() == [200, 200, 200, 255]
    pixels[0, 1, 1] = 3
    assert decode(saved(Image.fromarray(pixels, "LA"), "PNG"), (4, 1, 2), False, "a")[3, 0].tolist() == [255, 3]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    animation = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(animation, (3, 4, 4), False, "a")[:, 2, 2].tolist() == [255, 0, 0]


def test_cmyk_of_a_jpeg_becomes_rgb():
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = decode(saved(ink, "JPEG", quality=95), (3, 16, 16), False, "a")[:, 8, 8].int()
    assert (red - torch.tensor([255, 0, 0])).abs().max() <= 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_orientation_is_undone(turn, noise):
    """Orientation o says how the stored picture lies; these are the turns that set it upright (EXIF 2.3, 4.6.4.A)."""
    upright = noise(3, 5, 3)
    lie = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
        6: np.rot90, 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: lambda x: np.rot90(x, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(np.ascontiguousarray(lie[turn](upright)))
    assert torch.equal(decode(saved(stored, "PNG", exif=exif), (3, 3, 5), False, "a"), chw(upright))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_truncated_image_is_never_read_as_a_whole_one(noise, kind, share):
    whole = saved(Image.fromarray(noise(48, 48, 3)), kind)
    decode(whole, (3, 48, 48), False, "a")
    with pytest.raises(CorruptImageError):
        decode(whole[: int(share * len(whole))], (3, 48, 48), False, "a")


def test_a_small_file_that_would_fill_the_memory_is_refused(monkeypatch):
    """A decompression bomb: 30 KB that unpack to 200 million pixels."""
    bomb = saved(Image.new("1", (20_000, 10_000)), "PNG", optimize=True)
    assert len(bomb) < 50_000
    with pytest.raises(CorruptImageError, match=r"bomb\.png declares more than 178,956,970 pixels: scale it"):
        decode(bomb, (1, 8, 8), True, "bomb.png")


def test_postscript_is_not_run():
    with pytest.raises(CorruptImageError, match="cannot be read as an image"):
        decode(saved(Image.new("RGB", (4, 4)), "EPS"), (3, 4, 4), False, "a.eps")

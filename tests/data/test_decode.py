import errno
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from inkwash.data.decode import CorruptImageError, decode, is_image, size_of
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_come_through_unchanged_and_upright(encode, noise, channels, tmp_path):
    pixels = noise(5, 7, channels) | 1  # alpha 0 has no colour
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
    with pytest.raises(UserError, match=r"glass\.png is partly transparent.*data\.shape=\[4,H,W\]"):
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


@pytest.mark.parametrize(("largest", "white"), [(4095, 4095), (65535, 65535), (15, 15), (255, 255), (4095, 2000)])
def test_a_stated_range_of_a_pgm_is_in_its_own_units(largest, white):
    """Pillow scales the levels of a PGM file by its largest one to 8 or 16 bits."""
    levels = np.linspace(0, largest, 4).round()
    stored = levels.astype(">u2" if largest > 255 else "u1").tobytes()
    file = b"P5\n# a camera's\n2 2\n%d\n" % largest + stored
    wanted = np.clip(levels / white, 0, 1) * 255
    image = decode(file, (1, 2, 2), False, "x", Rendering(white=white))
    assert image.flatten().tolist() == wanted.round().astype(int).tolist()


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


def sixteen_bit_png(levels: np.ndarray, colour: int = 2) -> bytes:
    """Of uint16 (H, W, channels) and PNG's colour type, which Pillow cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
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
    assert image[:, 0, 1].tolist() == [0, 0, 0, 0]


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


# --- Metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "many"])
def test_pixels_are_read_whatever_the_size_of_text_and_profile(kind, noise, monkeypatch):
    """Pillow refuses compressed text of a megabyte, and 64 MB of any (Pillow#8363)."""
    image, info = Image.fromarray(pixels := noise(4, 4, 3)), PngImagePlugin.PngInfo()
    if kind == "many":
        monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 99_999)
        info.add_text("history", "x" * 100_000)
    elif kind != "iCCP":
        (info.add_text if kind == "zTXt" else info.add_itxt)("workflow", "x" * 2_000_000, zip=True)
    png = saved(image, "PNG", pnginfo=info, icc_profile=bytes(2_000_000) if kind == "iCCP" else None)
    with pytest.raises(ValueError, match=r"too large|[Tt]oo much"):
        Image.open(io.BytesIO(png)).load()
    assert torch.equal(decode(png, (3, 4, 4), False, "a"), chw(pixels))


def test_large_text_does_not_hide_the_rotation_or_a_cut(noise):
    exif, info = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    info.add_text("workflow", "x" * 2_000_000, zip=True)
    png = saved(Image.fromarray(pixels := noise(20, 30, 3)), "PNG", pnginfo=info, exif=exif)
    assert torch.equal(decode(png, (3, 30, 20), False, "a"), chw(np.rot90(pixels, -1).copy()))
    with pytest.raises(CorruptImageError):
        decode(png[:-40], (3, 30, 20), False, "a")


def test_rotation_is_read_from_xmp_beside_large_text(noise):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 2_000_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    png = saved(Image.fromarray(pixels := noise(4, 4, 3)), "PNG", pnginfo=info)
    assert torch.equal(decode(png, (3, 4, 4), False, "a"), chw(np.rot90(pixels, 2).copy()))


def test_size_and_kind_are_told_beside_large_text(noise, tmp_path):
    info, exif = PngImagePlugin.PngInfo(), Image.Exif()
    info.add_text("workflow", "x" * 2_000_000, zip=True)
    exif[0x0112] = 6
    (file := tmp_path / "a").write_bytes(png := saved(Image.fromarray(noise(4, 6, 3)), "PNG", pnginfo=info, exif=exif))
    assert [is_image(file), size_of(file), size_of(png)] == [True, (6, 4), (6, 4)]
    file.write_bytes(b"hello")
    assert not is_image(file)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_cost_the_image(kind, noise):
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(noise(8, 8, 3))
    plain = decode(saved(image, kind, **options), (3, 8, 8), False, "a")
    ill = saved(image, kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xff", **options)
    assert torch.equal(decode(ill, (3, 8, 8), False, "a"), plain)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_rotation_of_other_formats(kind):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(saved(Image.fromarray(pixels), kind, exif=exif), (3, 16, 8), False, "a")
    assert (int(image[:, :6].max()) < 10, int(image[:, 10:].min()) > 245) == (True, True)


# --- What is not the file's fault -------------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("inkwash.data.reading.PAUSES", (0.0, 0.0))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux: reading it is an input/output error")
def test_a_disk_that_stays_ill_is_no_corrupt_image(at_once, tmp_path):
    (tmp_path / "a.png").symlink_to("/proc/self/mem")
    with pytest.raises(
        UserError, match=r"^a\.png cannot be read \(Input/output error\): it was tried 3 times"
    ) as error:
        decode(tmp_path / "a.png", (3, 4, 4), False, "a.png")
    assert not isinstance(error.value, CorruptImageError)
    with pytest.raises(UserError, match=r"a\.png cannot be read \(Input/output error\)"):
        is_image(tmp_path / "a.png")


def test_a_file_that_went_away_is_no_corrupt_image(tmp_path):
    with pytest.raises(UserError, match=r"^a\.png cannot be read \(No such file or directory\)") as error:
        decode(tmp_path / "a.png", (3, 4, 4), False, "a.png")
    assert not isinstance(error.value, CorruptImageError)


@pytest.mark.parametrize("ill", [OSError(errno.EIO, "?"), OSError(errno.ESTALE, "?"), MemoryError()])
def test_a_moment_of_illness_passes_wherever_it_strikes(at_once, monkeypatch, encode, noise, ill):
    real, calls = Image.open, []

    def sometimes(*args, **options):
        calls.append(args)
        if len(calls) < 3:
            raise ill
        return real(*args, **options)

    png = encode(pixels := noise(4, 4, 3))
    monkeypatch.setattr(Image, "open", sometimes)
    assert torch.equal(decode(png, (3, 4, 4), False, "a"), chw(pixels))
    calls[:] = []
    monkeypatch.setattr("inkwash.data.reading.PAUSES", (0.0,))
    with pytest.raises(UserError, match=r"^a cannot be read") as error:
        decode(png, (3, 4, 4), False, "a")
    assert not isinstance(error.value, CorruptImageError)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer; run `git lfs pull`"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC; save it as PNG or JPEG"),
        (b"<!DOCTYPE html><html>404", "a web page; fetch the image again"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM; save it as 16-bit PNG"),
    ],
)
def test_what_is_found_in_place_of_an_image_is_told(content, says):
    with pytest.raises(CorruptImageError, match=says):
        decode(content, (3, 4, 4), False, "a.jpg")


# --- A stated range ---------------------------------------------------------------------------------------------------


def test_twelve_bits_in_sixteen_have_their_range_stated(encode):
    """Scaled by 65535 they are nearly black (pytorch-CycleGAN-and-pix2pix#321); Pillow clips them (Pillow#2574)."""
    levels = np.array([[0, 100, 2048, 4095, 5000]], dtype=np.uint16)
    grey = decode(encode(levels), (1, 1, 5), False, "a", Rendering(white=4095))
    assert grey.tolist() == [[[0, 6, 128, 255, 255]]]
    assert decode(encode(levels), (1, 1, 5), False, "a", Rendering(100, 4095)).tolist() == [[[0, 0, 124, 255, 255]]]
    assert decode(encode(levels), (1, 1, 5), False, "a").tolist() == [[[0, 0, 8, 16, 19]]]


def test_floats_have_their_range_stated():
    levels = np.array([[-1.5, -1, 0, 0.5, 1, 7, np.inf]], dtype=np.float32)
    tiff = saved(Image.fromarray(levels), "TIFF")
    found = decode(tiff, (3, 1, 7), False, "a", Rendering(-1, 1))
    assert found[1].tolist() == [[0, 0, 128, 191, 255, 255, 255]]
    with pytest.raises(UserError, match=r"holds floats.*add data\.source\.black=\.\.\. and data\.source\.white="):
        decode(tiff, (1, 1, 7), False, "a", Rendering(black=-1))


def test_values_that_are_no_numbers_are_a_corrupt_image():
    tiff = saved(Image.new("F", (2, 2), float("nan")), "TIFF")
    with pytest.raises(CorruptImageError, match=r"a\.tiff holds values that are not numbers"):
        decode(tiff, (1, 2, 2), False, "a.tiff", Rendering(0, 1))


def test_a_stated_range_of_eight_bits(encode):
    pixels = np.array([[[16, 235, 0], [255, 126, 17]]], np.uint8)
    found = decode(encode(pixels), (3, 1, 2), False, "a", Rendering(16, 235))
    assert found[:, 0].T.tolist() == [[0, 255, 0], [255, 128, 1]]
    with pytest.raises(UserError, match=r"a has 8 bits a channel, which .*white=4095 do not fit"):
        decode(encode(pixels), (3, 1, 2), False, "a", Rendering(white=4095))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_keeps_all_bits_where_a_range_is_stated(colour, channels):
    levels = np.array([[[0, 257, 4095, 65535][:channels], [1, 2000, 4000, 65535][:channels]]], dtype=np.uint16)
    levels[..., -1] = 65535 if channels != 3 else levels[..., -1]
    wanted = np.clip(np.round(levels / 4095 * 255), 0, 255)
    wanted = wanted[..., [0, 0, 0, 1]] if channels == 2 else wanted
    found = decode(sixteen_bit_png(levels, colour), (max(3, channels), 1, 2), False, "a", Rendering(white=4095))
    assert found.permute(1, 2, 0).tolist() == wanted[..., : len(found)].tolist()


def test_a_stated_range_of_a_palette_and_of_ink():
    indices = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    indices.putpalette([100, 10, 20, 0, 90, 200])
    found = decode(saved(indices, "PNG"), (3, 1, 2), False, "a", Rendering(white=100))
    assert found[:, 0].T.tolist() == [[255, 26, 51], [0, 230, 255]]
    ink = saved(Image.new("CMYK", (1, 1), (155, 245, 255, 0)), "TIFF")
    assert decode(ink, (3, 1, 1), False, "a", Rendering(white=100)).flatten().tolist() == [255, 26, 0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_of_a_tiff(order):
    levels = np.array([[[0, 2000, 4095], [9, 300, 5000]]], dtype=np.uint16)
    found = decode(sixteen_bit_tiff(levels, order), (3, 1, 2), False, "a", Rendering(white=4095))
    assert found.permute(1, 2, 0).tolist() == np.clip(np.round(levels / 4095 * 255), 0, 255).tolist()


def test_a_tiff_that_pillow_misreads_is_refused(noise):
    """16-bit samples, uncompressed, with the channels apart, as microscopes write them."""
    planes = sixteen_bit_tiff(noise(4, 4, 3).astype(np.uint16), "<", apart=True)
    with pytest.raises(CorruptImageError, match=r"a TIFF file of 16 bits with its channels apart: Pillow misreads it"):
        decode(planes, (3, 4, 4), False, "a")


def sixteen_bit_tiff(levels: np.ndarray, order: str, apart: bool = False) -> bytes:
    """Of uint16 (H, W, 3), uncompressed, which Pillow cannot write."""
    height, width, _ = levels.shape
    pixels = levels.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels)),
        (284, 3, 1, 1 + apart),
    ]  # fmt: skip
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        shown = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + shown
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(pixels) + len(bits))
    return start + pixels + bits + directory + bytes(4)


# --- Transparency and colour spaces -----------------------------------------------------------------------------------


def test_colour_under_alpha_zero_is_black_whatever_was_hidden_there(encode, noise):
    """What is hidden is often noise (sd-scripts#1269)."""
    pixels = noise(6, 6, 4)
    pixels[..., 3] = np.repeat([0, 1, 255], 2)
    for resize in (False, True):
        found = decode(encode(pixels), (4, 6, 6), resize, "a")
        assert found[:, :, :2].unique().tolist() == [0]
        assert torch.equal(found[:, :, 2:], chw(pixels)[:, :, 2:])


def test_hidden_colour_does_not_bleed_into_a_smaller_image(encode):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 1] = 255  # green under alpha 0
    pixels[:, 8:] = (255, 0, 0, 255)
    small = decode(encode(pixels), (4, 5, 5), True, "a")
    assert small[1].max() == 0


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ([10, 10, 10], 10), ("#0a0a0a", 10)])
def test_a_background_shows_through(encode, background, level):
    """Dropping alpha shows what is hidden, or black (DIGITS#85, instant-ngp#92)."""
    pixels = np.array([[[200, 200, 200, 255], [200, 200, 200, 0], [200, 200, 200, 51]]], np.uint8)
    for channels in (1, 3):
        found = decode(encode(pixels), (channels, 1, 3), False, "a", Rendering(background=background))[0, 0]
        assert found.tolist() == [200, level, round(0.2 * 200 + 0.8 * level)]


def test_a_background_for_palettes_grey_and_colour_keys(noise):
    """The four ways of PNG to be transparent, besides RGBA."""
    indices = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    indices.putpalette([250, 10, 20, 0, 90, 200])
    white = Rendering(background="white")
    found = decode(saved(indices, "PNG", transparency=1), (3, 1, 2), False, "a", white)
    assert found[:, 0].T.tolist() == [[250, 10, 20], [255, 255, 255]]
    grey = saved(Image.fromarray(np.array([[[7, 0], [200, 255]]], np.uint8), "LA"), "PNG")
    assert decode(grey, (1, 1, 2), False, "a", white).tolist() == [[[255, 200]]]
    key = saved(Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), "PNG", transparency=(1, 2, 3))
    assert decode(key, (3, 1, 2), False, "a", white)[:, 0].T.tolist() == [[255, 255, 255], [4, 5, 6]]
    deep = saved(Image.fromarray(np.array([[0, 65535]], np.uint16)), "PNG", transparency=0)
    assert decode(deep, (4, 1, 2), False, "a")[:, 0].T.tolist() == [[0, 0, 0, 0], [255, 255, 255, 255]]


def test_a_background_for_four_channels_is_refused(encode, noise):
    with pytest.raises(UserError, match=r"data\.source\.background is for images of 1 or 3 channels: remove it"):
        decode(encode(noise(2, 2, 4)), (4, 2, 2), False, "a", Rendering(background="white"))


def test_lab_becomes_srgb():
    """CIELAB (D50) of sRGB's red, 54.3, 80.8, 69.9."""
    tiff = saved(Image.new("LAB", (2, 2), (round(54.3 * 2.55), 128 + 81, 128 + 70)), "TIFF")
    red = decode(tiff, (3, 2, 2), False, "a")[:, 0, 0].int()
    assert (red - torch.tensor([255, 0, 0])).abs().max() <= 6


def test_cmyk_with_a_profile_that_is_none_of_ink_is_read_without_it():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        tiff = saved(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "TIFF", icc_profile=profile)
        assert decode(tiff, (3, 2, 2), False, "a")[:, 0, 0].tolist() == [0, 255, 255]


def test_profiles_of_rgb_are_not_applied(encode, noise):
    """As everywhere else in the field: pixels are what the file holds."""
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(pixels := noise(4, 4, 3))
    assert torch.equal(decode(saved(image, "PNG", icc_profile=wide), (3, 4, 4), False, "a"), chw(pixels))


def test_of_a_file_of_several_pictures_the_first_is_read():
    """Phones and action cameras write them (MPO)."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    red = decode(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]), (3, 16, 16), False, "a")
    assert (red[:, 8, 8].int() - torch.tensor([254, 0, 0])).abs().max() <= 2


def test_pixels_without_a_header_are_told(noise):
    """A table with image.tobytes() in it: neither height, width nor channels are stored."""
    with pytest.raises(
        CorruptImageError, match=r"^x cannot be read as an image: its 96 bytes are as many as the pixels"
    ):
        decode(noise(4, 8, 3).tobytes(), (3, 4, 8), True, "x")
    with pytest.raises(CorruptImageError, match=r"^x cannot be read as an image: remove or repair it"):
        decode(noise(4, 7, 3).tobytes(), (3, 4, 8), True, "x")

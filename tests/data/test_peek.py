import base64
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from inkwash.data.peek import advice, look


@pytest.fixture
def save(tmp_path):
    def write(name, mode, *sizes):
        folder = tmp_path / name
        folder.mkdir()
        for i, (height, width) in enumerate(sizes):
            Image.new(mode, (width, height)).save(folder / f"{i}.png")
        return str(folder)

    return write


@pytest.mark.parametrize(
    ("mode", "sizes", "shape"),
    [
        ("L", [(28, 28)] * 3, "[1,28,28]"),
        ("RGB", [(40, 24)] * 3, "[3,40,24]"),
        ("RGBA", [(16, 16)], "[4,16,16]"),
        ("RGB", [(500, 375), (1024, 768)], "[3,64,64], scaled and cropped"),
        ("RGB", [(300, 300)], "[3,64,64], scaled and cropped"),
        ("P", [(20, 40), (33, 33)], "[3,16,16], scaled and cropped"),
        ("L", [(9, 14)] * 2, "[1,8,8], scaled and cropped"),  # sides that a network can halve twice
        ("L", [(3, 3)], "[1,3,3]"),
        ("RGB", [(20, 40), (40, 20)], "[3,16,16], scaled and cropped"),
    ],
)
def test_a_shape_is_suggested_by_the_images(save, mode, sizes, shape):
    text = advice(save("x", mode, *sizes))
    assert text.endswith(f"pass data.shape={shape}")
    assert text.startswith(f"the {len(sizes)} images looked at are {sizes[0][0]} x {sizes[0][1]}")


@pytest.mark.parametrize(("modes", "channels"), [("LLR", 3), ("LLA", 3), ("RRA", 3), ("RAA", 4), ("LL", 1)], ids=str)
def test_channels_lose_no_colour_and_keep_transparency_if_it_is_the_rule(tmp_path, modes, channels):
    for i, mode in enumerate(modes):
        Image.new({"L": "L", "R": "RGB", "A": "RGBA"}[mode], (8, 8)).save(tmp_path / f"{i}.png")
    assert look(tmp_path).channels == channels


def test_images_among_many_other_files_are_found(tmp_path):
    for i in range(300):
        (tmp_path / f"{i:03}.a.txt").write_text("a caption")
        Image.new("L", (8 + 4 * (i > 150), 8)).save(tmp_path / f"{i:03}.png")
    seen = look(tmp_path)
    assert (seen.images, seen.low, seen.high) == (200, (8, 8), (8, 12))  # of the first and of the last half


def test_images_in_files_are_looked_at_too(save, noise, write_parquet, write_tar, tmp_path):
    pixels = noise(3, 6, 5, 3)
    for path in (write_parquet(tmp_path / "a.parquet", pixels), write_tar(tmp_path / "a.tar", pixels, range(3))):
        assert advice(path).endswith("data.shape=[3,4,4], scaled and cropped")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(f"{save('x', 'L', (8, 8))}/0.png", "0.png")
    assert advice(str(tmp_path / "a.zip")).endswith("data.shape=[1,8,8]")


def test_nothing_is_suggested_where_there_is_no_image(tmp_path):
    (tmp_path / "a.parquet").write_text("no Parquet")
    (tmp_path / "a.png").write_text("no image")
    assert advice(str(tmp_path)) == advice(str(tmp_path / "nowhere")) == ""


def test_no_torch_is_imported(save):
    folder = save("x", "L", (8, 8))
    code = f"import sys; from inkwash.data.peek import advice; print(advice({folder!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["data.shape=[1,8,8]", "False"]


def test_thumbnails_are_not_looked_at(save):
    place = save("x", "RGB", (40, 24))
    save("x/@eaDir", "RGB", (9, 9))
    assert advice(place).startswith("the 1 images looked at are 40 x 24")


def test_the_shape_is_that_of_the_image_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (24, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert advice(str(tmp_path)).endswith("data.shape=[1,24,40]")


def test_16_bits_of_either_byte_order_are_grey(tmp_path):
    Image.fromarray(np.zeros((8, 8), ">u2")).save(tmp_path / "a.tif")
    assert advice(str(tmp_path)).endswith("data.shape=[1,8,8]")


def test_shards_of_a_pattern_are_looked_at(noise, write_tar, tmp_path):
    for i in range(2):
        write_tar(tmp_path / f"x-{i}.tar", noise(3, 6, 5, 3))
    for pattern in ("x-{0..1}.tar", "x-*.tar"):
        assert advice(str(tmp_path / pattern)).startswith("the 6 images looked at are 6 x 5")


@pytest.mark.parametrize("kind", ["arrays", "floats", "base64", "paths"])
def test_images_of_any_column_are_looked_at(noise, encode, tmp_path, kind):
    pixels = noise(3, 6, 5, 3)
    (tmp_path / "0.png").write_bytes(encode(pixels[0]))
    column = {
        "arrays": (40 * pixels.astype(int)).tolist(),
        "floats": pixels.astype(float).transpose(0, 3, 1, 2).tolist(),
        "base64": [base64.b64encode(encode(image)).decode() for image in pixels],
        "paths": ["0.png"] * 3,
    }[kind]
    pq.write_table(pa.table({"image": column, "label": [0, 1, 2]}), tmp_path / "a.pq")
    # Floats are only images if they are named.
    wanted = "" if kind == "floats" else "data.shape=[3,4,4], scaled and cropped"
    assert advice(str(tmp_path / "a.pq")).endswith(wanted)

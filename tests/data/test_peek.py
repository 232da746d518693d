import base64
import io
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from inkwash.data.peek import Wanted, advice, look
from inkwash.errors import UserError


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


def test_the_column_that_is_named_is_looked_at(noise, encode, tmp_path):
    large, small = ([encode(image) for image in noise(3, side, side, 3)] for side in (12, 8))
    for i, image in enumerate(large):
        (tmp_path / f"{i}.png").write_bytes(image)
    floats = noise(3, 20, 20, 1)[..., 0].astype(float).tolist()
    table = {"image": large, "thumb": small, "where": [f"{i}.png" for i in range(3)], "levels": floats}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    found = {name: look(tmp_path / "a.parquet", Wanted((".parquet",), name)).shape() for name in table}
    assert found == {"image": [3, 12, 12], "thumb": [3, 8, 8], "where": [3, 12, 12], "levels": [1, 20, 20]}


def test_the_extension_that_is_named_is_looked_at(noise, encode, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i, (large, small) in enumerate(zip(noise(3, 12, 12, 3), noise(3, 8, 8, 3), strict=True)):
            for name, image in ((f"{i}.png", large), (f"{i}.seg.png", small)):
                content = encode(image)
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    found = [look(tmp_path / "a.tar", Wanted((".tar",), None, image)).shape() for image in (None, "png", "jpg;seg.png")]
    assert found == [[3, 12, 12], [3, 12, 12], [3, 8, 8]]


def test_links_to_folders_are_followed_once(save, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to(save("x", "L", (8, 8), (8, 8)))
    (tmp_path / "x" / "loop").symlink_to(tmp_path / "linked")
    assert advice(str(tmp_path / "linked")).startswith("the 2 images looked at are 8 x 8")


@pytest.mark.parametrize("pattern", ["*/0.parquet", "**/*.parquet", "?/{0..0}.parquet", "x[1].parquet", "data"])
def test_the_files_are_those_of_the_source(noise, write_parquet, tmp_path, pattern):
    names = [pattern] if pattern in ("x[1].parquet", "data") else ["a/0.parquet", "b/0.parquet"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_parquet(tmp_path / name, noise(3, 8, 8, 3))
    seen = look(tmp_path / pattern, Wanted((".parquet",)))
    assert (seen.images, seen.high) == (3 * len(names), (8, 8))


def test_images_beside_the_files_of_the_source_are_not_looked_at(save, noise, write_parquet, tmp_path):
    write_parquet(tmp_path / "0.parquet", noise(3, 8, 8, 3))
    save("x", "L", (12, 12))
    assert look(tmp_path, Wanted((".parquet",))).images == 3
    with pytest.raises(UserError, match=r"data.path=.* finds no file: give a .tar file"):
        look(tmp_path, Wanted((".tar",)))


def test_a_zip_file_with_many_captions_and_thumbnails(encode, noise, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(250):
            archive.writestr(f"captions/{i}.txt", "a caption")
        archive.writestr("@eaDir/0.png", encode(noise(1, 4, 4, 3)[0]))
        archive.writestr("images/0.png", encode(noise(1, 8, 8, 3)[0]))
    assert look(tmp_path / "a.zip").low == (8, 8)

"""Images that a user names: a file, a folder, a Parquet file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from inkwash.data import files
from inkwash.data.files import read_images
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError

SHAPE = (3, 4, 6)


def pixels_of(found):
    return found.__getitems__([*range(len(found))])[0]


def test_a_file_is_scaled_to_cover_and_cropped(tmp_path, noise):
    """Of an image twice as large and too wide, the middle at half the size; at its ends the filter sees farther."""
    pixels = noise(8, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels[:, 4:16]).save(tmp_path / "middle.png")
    wide, middle = (read_images(str(tmp_path / f"{name}.png"), SHAPE, 9) for name in ("wide", "middle"))
    assert pixels_of(wide).shape == (1, *SHAPE)
    assert wide.labels.tolist() == [-1]
    assert torch.equal(pixels_of(wide)[..., 2:-2], pixels_of(middle)[..., 2:-2])
    assert not torch.equal(pixels_of(wide), pixels_of(middle))


def test_a_folder_is_read_in_alphabetical_order_up_to_the_limit(tmp_path, noise):
    levels = {"b.png": 20, "a.png": 10, "c/a.png": 30, ".hidden.png": 99, ".folder/x.png": 99, "d.png": 40}
    for name, level in levels.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (6, 4), level).save(tmp_path / name)
    assert pixels_of(read_images(str(tmp_path), SHAPE, 3))[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert len(read_images(str(tmp_path), SHAPE, 99)) == 4


@pytest.mark.parametrize("labels", [[4, 0, 7], None])
def test_a_parquet_file_brings_its_labels(labels, tmp_path, noise, write_parquet):
    pixels = noise(3, 4, 6, 3)
    found = read_images(write_parquet(tmp_path / "x.parquet", pixels, labels), SHAPE, 2)
    assert torch.equal(pixels_of(found), torch.from_numpy(pixels[:2]).permute(0, 3, 1, 2))
    assert found.labels.tolist() == ([4, 0] if labels else [-1, -1])


def test_files_that_cannot_be_read_end_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"task.images=.*nowhere does not exist: give an image file, a folder"):
        read_images(str(tmp_path / "nowhere"), SHAPE, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"task.images=.*empty holds no images"):
        read_images(str(tmp_path / "empty"), SHAPE, 1)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text.png cannot be read as an image"):
        read_images(str(tmp_path / "text.png"), SHAPE, 1)
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "red.png")
    with pytest.raises(UserError, match=r"red.png is in colour"):
        read_images(str(tmp_path / "red.png"), (1, 4, 6), 1)


def test_images_are_decoded_as_they_are_asked_for(tmp_path, monkeypatch):
    """Each once at first, so that a bad one ends the job before it begins; none is kept."""
    for i in range(3):
        Image.new("RGB", (6, 4), (i, i, i)).save(tmp_path / f"{i}.png")
    decoded, decode = [], files.decode
    monkeypatch.setattr(files, "decode", lambda *args: decoded.append(args[3][-5:]) or decode(*args))
    found = read_images(str(tmp_path), SHAPE, 3)
    assert decoded == ["0.png", "1.png", "2.png"]
    assert found.__getitems__([2, 0])[0][:, 0, 0, 0].tolist() == [2, 0]
    assert decoded[3:] == ["2.png", "0.png"]


def test_classes_are_matched_by_their_names(tmp_path, noise, write_parquet):
    """The file counts its own classes from 0: its dogs are not the run's birds."""
    file = write_parquet(tmp_path / "x.parquet", noise(3, 4, 6, 3), [0, 0, 0])
    table = pq.read_table(file)
    pq.write_table(table.set_column(table.column_names.index("label"), "label", pa.array(["dog", "cat", "dog"])), file)
    classes = ("bird", "cat", "dog")
    assert read_images(file, SHAPE, 9, classes).labels.tolist() == [2, 1, 2]
    assert read_images(file, SHAPE, 9, labelled=False).labels.tolist() == [-1, -1, -1]
    with pytest.raises(UserError, match=r"x.parquet: dog is not a class of the run, whose are bird, cat: pass label="):
        read_images(file, SHAPE, 9, classes[:2])
    with pytest.raises(UserError, match=r"has classes with names \(cat, dog\), and the run's have none: pass label=0"):
        read_images(file, SHAPE, 9)


def test_subfolders_called_like_classes_are_classes(tmp_path, noise):
    for name in ("dog/0.png", "cat/1.png", "others/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(noise(4, 6, 3)).save(tmp_path / name)
    assert read_images(str(tmp_path), SHAPE, 9, ("bird", "cat", "dog")).labels.tolist() == [1, 2, -1]


def test_an_accent_in_a_class_is_read_however_it_is_stored(tmp_path, noise):
    for i, name in enumerate(("caf\u00e9", "cafe\u0301")):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(4, 6, 3)).save(tmp_path / name / f"{i}.png")
    assert read_images(str(tmp_path), SHAPE, 9, ["bar", "caf\u00e9"]).labels.tolist() == [1, 1]
    table = pa.table({"image": [(tmp_path / "cafe\u0301/1.png").read_bytes()], "label": ["cafe\u0301"]})
    pq.write_table(table, tmp_path / "one.parquet")
    assert read_images(str(tmp_path / "one.parquet"), SHAPE, 9, ["bar", "caf\u00e9"]).labels.tolist() == [1]


def test_named_images_are_read_as_those_of_the_run(tmp_path):
    """The range and background that the run was trained with; what it has drawn itself has 8 bits."""
    levels = np.arange(24).reshape(4, 6)
    Image.fromarray((levels * 100).astype(np.uint16)).save(tmp_path / "12bits.png")
    Image.fromarray((levels * 10).astype(np.uint8)).save(tmp_path / "8bits.png")
    clear = Image.new("LA", (6, 4), (0, 0))
    clear.save(tmp_path / "clear.png")
    rendering = Rendering(white=4000, background="white")
    found = {
        name: pixels_of(read_images(str(tmp_path / f"{name}.png"), (1, 4, 6), 1, rendering=rendering))[0, 0].tolist()
        for name in ("12bits", "8bits", "clear")
    }
    assert found["12bits"] == np.round(levels * 100 / 4000 * 255).tolist()
    assert found["8bits"] == (levels * 10).tolist()
    assert found["clear"] == [[255] * 6] * 4

"""Test which files of a folder are measured."""

import pytest
from PIL import Image

from inkwash.errors import UserError
from inkwash.jobs.image_sources import image_files

SHAPE = (1, 4, 6)


def save(path, level, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def levels(folder, count):
    [(_, images)] = image_files(folder, SHAPE, count)(range(count), 99)
    return images[:, 0, 0, 0].tolist()


def test_the_visible_images_are_measured_in_the_order_of_their_names(tmp_path):
    """Other programs leave thumbnails in hidden folders, which come first by their names."""
    for name, level in {"b.png": 20, "a/c.png": 10, ".ipynb_checkpoints/a.png": 90, ".x.png": 91}.items():
        save(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("no image")
    assert levels(tmp_path, 2) == [10, 20]
    with pytest.raises(UserError, match=r"holds 2 images: pass num_images=2 or fewer"):
        image_files(tmp_path, SHAPE, 3)


def test_of_what_sample_has_written_the_images_are_measured(tmp_path):
    save(tmp_path / "grid.png", 99, (60, 40))
    for i in range(2):
        save(tmp_path / f"images/00000{i}.png", i)
    (tmp_path / "sample.yaml").write_text("")
    assert levels(tmp_path, 2) == [0, 1]


def test_another_size_is_named_and_nothing_is_resized(tmp_path):
    save(tmp_path / "a.png", 1, (8, 8))
    read = image_files(tmp_path, SHAPE, 1)
    with pytest.raises(UserError, match=r"a.png has 8 x 8 pixels, but data.shape=\[1, 4, 6\]: images are measured as"):
        next(read(range(1), 1))


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a.png cannot be read as an image"):
        next(image_files(tmp_path, SHAPE, 1)(range(1), 1))

"""Masks: named regions, files, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.data.files import read_images
from inkwash.editing.masks import REGIONS, Mask
from inkwash.editing.tasks import Inpaint
from inkwash.errors import UserError


def test_regions_are_where_their_names_say():
    drawn = {name: Mask(name)(4, 4).int().tolist() for name in REGIONS}
    assert drawn["left"] == [[1, 1, 0, 0]] * 4
    assert drawn["right"] == [[0, 0, 1, 1]] * 4
    assert drawn["top"] == [[1, 1, 1, 1]] * 2 + [[0, 0, 0, 0]] * 2
    assert drawn["bottom"] == [[0, 0, 0, 0]] * 2 + [[1, 1, 1, 1]] * 2
    assert drawn["center"] == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_height_and_width_are_not_confused():
    assert Mask("top")(2, 6).tolist() == [[True] * 6, [False] * 6]
    assert Mask("left")(6, 2).tolist() == [[True, False]] * 6


def test_a_file_is_white_where_to_paint(tmp_path):
    levels = np.array([[0, 127, 128], [255, 0, 200]], dtype=np.uint8)
    for mode in ("L", "RGB"):
        Image.fromarray(levels).convert(mode).save(tmp_path / f"{mode}.png")
        assert torch.equal(Mask(str(tmp_path / f"{mode}.png"))(2, 3), torch.from_numpy(levels >= 128))


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_16_bits_are_scaled_to_8(name, tmp_path):
    """Dark grey, 1000 of 65535, is not white: half of the range is."""
    levels = np.array([[0, 1000, 32767], [32768 + 128, 65535, 300]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    assert Mask(str(tmp_path / name))(2, 3).tolist() == [[False, False, False], [True, True, False]]
    exif = Image.Exif()
    exif[274] = 6  # turn by a quarter clockwise
    Image.fromarray(levels).save(tmp_path / "turned.png", exif=exif)
    assert Mask(str(tmp_path / "turned.png"))(3, 2).tolist() == [[True, False], [True, False], [False, False]]


@pytest.mark.parametrize("levels", [np.ones((2, 3), np.float32), np.full((2, 3), 70_000, np.int32)], ids=["F", "I"])
def test_a_mask_of_unknown_range_is_refused(levels, tmp_path):
    Image.fromarray(levels).save(tmp_path / "mask.tif")
    with pytest.raises(UserError, match=r"mask.tif holds floats or more than 16 bits a pixel, .*: save it with 8 bits"):
        Mask(str(tmp_path / "mask.tif"))(2, 3)


def test_unusable_masks_end_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"task.mask=middle must be left, right, .* or an image file"):
        Mask("middle")
    Image.new("L", (3, 2), 255).save(tmp_path / "wide.png")
    with pytest.raises(UserError, match=r"is 2 x 3 pixels \(height x width\), but the images are 8 x 8"):
        Mask(str(tmp_path / "wide.png"))(8, 8)
    Image.new("L", (8, 8), 0).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="is black everywhere"):
        Mask(str(tmp_path / "black.png"))(8, 8)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        Mask(str(tmp_path / "text.png"))(8, 8)


# --- Of a photo's own size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(30, 48), (48, 30), (16, 31)])
def test_a_mask_of_the_photos_size_is_cropped_and_scaled_with_it(tmp_path, size):
    """A photo that is its own mask: white where it is to be painted."""
    height, width = size
    levels = np.zeros(size, np.uint8)
    levels[height // 4 : height // 2, width // 3 :] = 255
    for name in ("photo", "mask"):
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    photos = read_images(str(tmp_path / "photo.png"), (1, 8, 8), 1)
    mask = Mask(str(tmp_path / "mask.png"))
    mask.fit_to(photos.sizes())
    assert torch.equal(mask(8, 8), photos[0][0] >= 128)
    assert 0 < int(mask(8, 8).sum()) < 64


def test_a_mask_of_the_photos_proportions_will_do(tmp_path):
    Image.new("L", (24, 15), 255).save(tmp_path / "half.png")
    mask = Mask(str(tmp_path / "half.png"))
    mask.fit_to([(31, 48), (62, 97)])
    assert mask(8, 8).all()
    mask.fit_to([(31, 48), (48, 31)])
    with pytest.raises(UserError, match="images are 8 x 8: give a mask of their size, or of the photo's, 48 x 31"):
        mask(8, 8)


def test_a_mask_lies_as_its_exif_says(tmp_path):
    levels = np.zeros((4, 6), np.uint8)
    levels[:, :2] = 255
    exif = Image.Exif()
    exif[274] = 6  # turn by a quarter clockwise
    Image.fromarray(levels).save(tmp_path / "turned.png", exif=exif)
    assert Mask(str(tmp_path / "turned.png"))(6, 4).tolist() == [[True] * 4] * 2 + [[False] * 4] * 4


def test_inpainting_takes_the_size_of_its_photos(tmp_path):
    Image.new("L", (12, 6), 255).save(tmp_path / "mask.png")
    task = Inpaint(str(tmp_path / "mask.png"), 1, 1)
    task.take_sizes(lambda: [(60, 120)])
    assert task.mask(8, 8).all()
    Inpaint("left", 1, 1).take_sizes(lambda: pytest.fail("a region has no size"))

"""Masks: named regions, files, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.editing.masks import REGIONS, Mask
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

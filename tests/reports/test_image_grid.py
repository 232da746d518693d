import numpy as np
import torch
from PIL import Image

from inkwash.reports.image_grid import grid, save_png, visible


def test_images_lie_row_by_row_on_white():
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 4)
    sheet = grid(images, columns=2, min_side=2, gap=1)
    assert sheet.shape == (3, 2 * (2 + 1) + 1, 2 * (4 + 1) + 1)
    for i, (top, left) in enumerate([(1, 1), (1, 6), (4, 1)]):
        assert (sheet[:, top : top + 2, left : left + 4] == i).all()
        sheet[:, top : top + 2, left : left + 4] = 255
    assert (sheet == 255).all()


def test_small_images_are_enlarged_by_whole_factors():
    image = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    sheet = grid(image, columns=1, min_side=5, gap=0)
    assert sheet.shape == (3, 6, 9)
    assert torch.equal(sheet[0], image[0, 0].repeat_interleave(3, 0).repeat_interleave(3, 1))


def test_any_number_of_channels_can_be_shown():
    images = torch.ones(2, 5, 4, 4, dtype=torch.uint8)
    assert [visible(images[:, :n]).shape[1] for n in (1, 2, 3, 4, 5)] == [1, 3, 3, 3, 3]
    assert visible(images[:, :2])[:, 2].eq(0).all()


def test_a_png_holds_the_pixels(tmp_path):
    for channels in (1, 3):
        pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
        save_png(pixels, tmp_path / "deep" / "image.png")
        with Image.open(tmp_path / "deep" / "image.png") as file:
            read = torch.from_numpy(np.array(file)).view(5, 7, channels).permute(2, 0, 1)
        assert torch.equal(read, pixels)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["image.png"]

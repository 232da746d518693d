import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.reports.image_grid import grid, most_images, save_png, usual_columns, visible


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
    assert [visible(images[:, :n]).shape[1] for n in (1, 2, 3, 4, 5)] == [1, 3, 3, 3, 1]
    assert visible(images[:, :2])[:, 2].eq(0).all()


def test_a_png_holds_the_pixels(tmp_path):
    for channels in (1, 3):
        pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
        save_png(pixels, tmp_path / "deep" / "image.png")
        with Image.open(tmp_path / "deep" / "image.png") as file:
            read = torch.from_numpy(np.array(file)).view(5, 7, channels).permute(2, 0, 1)
        assert torch.equal(read, pixels)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["image.png"]


def test_transparent_images_lie_on_a_checkerboard():
    """What is hidden under alpha 0 is not shown (sd-scripts#1269, stable-diffusion#304)."""
    image = torch.zeros(1, 4, 16, 16, dtype=torch.uint8)
    image[:, :3] = torch.randint(0, 256, (1, 3, 16, 16))
    image[:, 3, :8] = 255
    image[:, 3, 8, 0] = 51
    sheet = grid(image, 1, min_side=16, gap=0)
    assert torch.equal(sheet[:, :8], image[0, :3, :8])
    assert torch.equal(sheet[:, 8, 0], ((51 * image[0, :3, 8, 0].int() + 204 * 204 + 127) // 255).to(torch.uint8))
    assert (sheet[:, 9:, :8] == 204).all()
    assert (sheet[:, 9:, 8:] == 255).all()


def test_the_squares_are_as_large_under_enlarged_images():
    clear = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    sheet = grid(clear, 1, min_side=16, gap=0)
    assert sheet.shape == (3, 16, 16)
    assert sheet[0, ::8, ::8].tolist() == [[255, 204], [204, 255]]


def test_many_channels_lie_side_by_side():
    images = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1).expand(2, 5, 4, 4)
    shown = visible(images)
    assert shown.shape == (2, 1, 4, 20)
    assert shown[0, 0, 0, ::4].tolist() == [0, 1, 2, 3, 4]


def test_a_file_of_four_channels_holds_all_of_them(tmp_path):
    pixels = torch.randint(0, 256, (4, 5, 7), dtype=torch.uint8)
    save_png(pixels, tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as file:
        assert file.mode == "RGBA"
        assert np.array_equal(np.array(file), pixels.permute(1, 2, 0).numpy())
    save_png(pixels[:2], tmp_path / "two.png")
    with Image.open(tmp_path / "two.png") as file:
        assert np.array_equal(np.array(file)[..., :2], pixels[:2].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("shape", "width", "most"),
    [((1, 8, 8), 1, 1000), ((3, 64, 64), 1, 1000), ((3, 1024, 1024), 1, 76), ((3, 1024, 1024), 3, 25),
     ((3, 20000, 20000), 1, 1), ((8, 512, 512), 1, 38)],
)  # fmt: skip
def test_a_grid_has_a_bounded_number_of_images(shape, width, most):
    assert most_images(shape, width) == most


def test_columns_are_classes_unless_there_are_too_many():
    assert [usual_columns(64, n) for n in (None, 2, 10, 32, 1000)] == [8, 2, 10, 32, 8]

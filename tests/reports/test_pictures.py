"""Pictures of a page show the pixels that there are."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.reports.drawings import save_process
from inkwash.reports.headings import with_headings
from inkwash.reports.image_grid import grid, save_png
from inkwash.reports.pictures import encoded, laid_out, picture, read_pixels, read_process, tiles


def images(n, *shape):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def decoded(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7), (1, 64, 64), (3, 70, 100)])
@pytest.mark.parametrize("headed", [False, True])
def test_a_grid_is_cut_into_the_images_it_was_made_of(shape, headed):
    real = images(6, *shape)
    sheet = grid(real, 3)
    sheet = with_headings(sheet, ["a", "b", "c"]) if headed else sheet
    cut = tiles(sheet.permute(1, 2, 0).numpy(), shape, 3)
    assert cut is not None
    assert np.array_equal(cut, real.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy())


def test_a_sheet_that_is_no_such_grid_is_not_cut():
    sheet = np.zeros((100, 100, 3), np.uint8)
    assert tiles(sheet, (1, 8, 8), 3) is None


def test_small_pictures_keep_every_pixel():
    pixels = laid_out(images(6, 3, 8, 8).permute(0, 2, 3, 1).numpy(), 3)
    assert pixels.shape == (17, 26, 3)
    shown = picture(pixels, "six images", side=8)
    assert np.array_equal(decoded(shown.uri), pixels)
    assert (shown.width, shown.height) == (26 * 7, 17 * 7)


def test_large_pictures_are_packed():
    smooth = np.linspace(0, 255, 400 * 400 * 3).reshape(400, 400, 3).astype(np.uint8)
    noise = images(1, 3, 400, 400)[0].permute(1, 2, 0).numpy()
    mixed = ((smooth.astype(int) * 3 + noise) // 4).astype(np.uint8)
    uri = encoded(mixed)
    assert uri.startswith("data:image/webp")
    assert len(uri) < 400 * 400 * 3 / 4
    assert np.abs(decoded(uri).astype(int) - mixed).mean() < 20


def test_huge_pictures_are_made_smaller_and_shown_as_large():
    shown = picture(images(1, 3, 1500, 3000)[0].permute(1, 2, 0).numpy(), "much")
    assert (shown.width, shown.height) == (3000, 1500)
    height, width, _ = decoded(shown.uri).shape
    assert width * height == pytest.approx(2_000_000, rel=0.01)
    assert width == pytest.approx(2 * height, abs=2)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_what_cannot_be_read_is_none(tmp_path, content):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    assert read_pixels(path) is None
    assert read_process(path) is None


def test_a_file_cut_short_is_none(tmp_path):
    save_png(images(1, 3, 64, 64)[0], tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:-2000])
    assert read_pixels(tmp_path / "x.png") is None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_process_is_read_as_it_was_written(tmp_path, channels):
    rows = {name: images(10, channels, 4, 6).view(2, 5, channels, 4, 6) + k for k, name in enumerate("ab")}
    save_process(tmp_path / "p.png", rows, [{"t": t} for t in range(5)], step=7)
    process = read_process(tmp_path / "p.png")
    assert process is not None
    assert process.facts["step"] == 7
    for (name, found), (asked, real) in zip(process.groups, rows.items(), strict=True):
        assert name == asked
        assert np.array_equal(found, real.expand(-1, -1, 3, -1, -1).permute(0, 1, 3, 4, 2).numpy())

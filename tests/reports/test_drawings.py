"""What is drawn of the forward process is what the theory says."""

import json

import pytest
import torch

from inkwash.data.images import Images
from inkwash.images import to_float, to_uint8
from inkwash.process.forward import q_step
from inkwash.random import generator
from inkwash.reports.drawings import draw_classes, draw_forward, draw_nearest, fitting, frame_of, walked_images
from inkwash.reports.pictures import read_process
from support.schedules import PATHS


def some(n, *shape):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PATHS)
def test_walk_and_closed_form_leave_unit_noise(tmp_path, name):
    """(x_t - alpha x_0) / sigma is N(0, I) both ways: of 64 images of 64 pixels its deviation is 1 +- 5 * 0.011."""
    images = some(64, 1, 8, 8)
    draw_forward(tmp_path / "f.png", PATHS[name], images)
    process = read_process(tmp_path / "f.png")
    assert process is not None
    stds = process.facts["residual_std"]
    assert set(stds) == {"step by step", "in closed form"}
    times = [frame["t"] for frame in process.facts["frames"]]
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx(PATHS[name].t_max)
    assert all(len(values) == len(times) - 1 for values in stds.values())
    # Near the data float32 images leave a rounding error that sigma divides.
    assert all(abs(value - 1) < 0.055 for values in stds.values() for value in values)


def test_the_walk_is_that_of_q_step(tmp_path):
    schedule, x = PATHS["cosine-10"], to_float(some(6, 1, 8, 8))
    draw_forward(tmp_path / "f.png", schedule, some(6, 1, 8, 8))
    noise = generator("report", "step by step")
    for s in range(10):
        x = q_step(schedule, x, torch.tensor([s]), torch.tensor([s + 1]), torch.randn(x.shape, generator=noise))
    process = read_process(tmp_path / "f.png")
    assert process is not None
    assert torch.equal(torch.from_numpy(process.groups[0][1][:, -1, ..., 0].copy()), to_uint8(x)[:, 0])


def test_the_walk_begins_with_the_images(tmp_path):
    images = some(8, 3, 8, 8)
    draw_forward(tmp_path / "f.png", PATHS["cosine"], images)
    process = read_process(tmp_path / "f.png")
    assert process is not None
    for _, rows in process.groups:
        assert torch.equal(torch.from_numpy(rows[:, 0].copy()), to_uint8(to_float(images[:6])).permute(0, 2, 3, 1))


@pytest.mark.parametrize("side", [8, 32, 64, 256, 512])
def test_files_stay_small(side):
    images, frames = fitting((3, side, side))
    assert 2 <= images <= 6
    assert 2 * images * frames * side * side <= 3_000_000 or frames == 2
    assert images <= walked_images((3, side, side)) <= 64


def test_log_snr_of_a_frame():
    assert frame_of(PATHS["flow"], 0.5)["log_snr"] == pytest.approx(0, abs=1e-12)
    assert frame_of(PATHS["flow"], 1.0)["log_snr"] == -99
    assert frame_of(PATHS["edm"], 0.0)["log_snr"] == 99


def test_classes_have_a_row_each(tmp_path):
    labels = torch.tensor([1, 0, 1, 2, -1, 1] + [0] * 20)
    images = some(len(labels), 1, 4, 4)
    draw_classes(tmp_path / "c.png", Images(images, labels), 4)
    process = read_process(tmp_path / "c.png")
    assert process is not None
    found = torch.from_numpy(process.images[..., 0].copy())
    assert torch.equal(found[1, :3], images[[0, 2, 5], 0])
    assert torch.equal(found[0], images[[1, 6, 7, 8, 9, 10, 11, 12], 0])
    assert bool((found[3] == 255).all())  # none there


@pytest.mark.parametrize(("side", "size"), [(8, (24, 8)), (128, (24, 7)), (512, (11, 1)), (2048, (2, 1))])
def test_few_classes_of_large_images(tmp_path, side, size):
    labels = torch.arange(30).repeat(2)
    blank = torch.zeros(1, 1, side, side, dtype=torch.uint8).expand(60, -1, -1, -1)
    draw_classes(tmp_path / "c.png", Images(blank, labels), 30)
    process = read_process(tmp_path / "c.png")
    assert process is not None
    assert process.images.shape[:2] == size


def test_the_nearest_image_of_a_copy_is_itself(tmp_path):
    images = some(20, 1, 4, 4)
    copies = torch.stack([images[3], images[7].flip(-1)])
    draw_nearest(tmp_path / "n.png", copies, Images(images, torch.zeros(20, dtype=torch.int64)), flip=True, step=5)
    facts = json.loads((tmp_path / "n.json").read_text())
    assert [frame["distance"] for frame in facts["frames"]] == [0.0, 0.0]

"""Images cut out of a run's grids are samples, all of them."""

import numpy as np
import pytest
from tests.reports.conftest import DATA, images

from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, save_png
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_pictures import class_section, sample_tiles
from inkwash.runs.directory import RunDirectory


@pytest.fixture
def run(filled, tmp_path):
    """A run without grids, of 55 samples in 10 columns."""
    full, run = RunDirectory(filled), RunDirectory(tmp_path / "run")
    run.path.mkdir()
    samples = full.config["callbacks"]["samples"] | {"num_images": 55, "columns": 10}
    run.write_config(full.config | {"callbacks": {"samples": samples}})
    run.write_record(full.record)
    return run


def draw(run, step, drawn):
    save_png(headed(grid(drawn, 10), 10, DATA["classes"]), run.samples / f"step-{step:08d}.png")


@pytest.mark.parametrize("count", [55, 10])
def test_the_white_rest_of_a_grid_is_no_sample(run, count):
    """The early row is a grid of 10, whatever the others have."""
    draw(run, 1, drawn := images(count))
    found = sample_tiles(RunFiles(run))
    assert found is not None
    assert np.array_equal(found[..., 0], drawn[:, 0].numpy())


def test_a_class_shows_its_samples_alone(run):
    """Of 55 images the classes 5 to 9 have 5 each, the others 6."""
    draw(run, 30, images(55))
    section = class_section(RunFiles(run))
    assert section is not None
    widths = [row[3].picture.width for row in section.blocks[0].rows]
    assert widths == [7 * (6 * 9 - 1)] * 5 + [7 * (5 * 9 - 1)] * 5  # 8 pixels and a line each, enlarged 7 times

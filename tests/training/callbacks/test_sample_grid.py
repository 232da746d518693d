"""Grids of samples."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.errors import UserError
from inkwash.training.callbacks.sample_grid import SampleGrid
from support.training import NO_METRIC


def test_each_sample_beside_its_nearest_training_image(fit_run):
    directory, trainer, _ = fit_run("run", NO_METRIC, "callbacks.samples.neighbours=true")
    drawn, pairs = (
        torch.from_numpy(np.array(Image.open(directory / "samples" / f"{name}step-00000004.png").convert("L")))
        for name in ("", "neighbours-")
    )
    # Of each tile of 64 x 64 and its gap of 2 one pixel in 8, which is the image.
    tiles = [
        sheet[2:, 2:].unfold(0, 64, 66).unfold(1, 64, 66)[:, :, ::8, ::8].flatten(0, 1) for sheet in (drawn, pairs)
    ]
    assert torch.equal(tiles[1][::2], tiles[0])
    train = trainer.datamodule.train.images[:, 0]
    nearest = (tiles[0][:, None].double() - train.double()).flatten(2).norm(dim=2).argmin(dim=1)
    assert torch.equal(tiles[1][1::2], train[nearest])


def test_grids_start_from_the_same_noise(fit_run):
    """With a learning rate of 0 nothing changes between two grids, so nothing may differ."""
    directory, _, _ = fit_run("run", NO_METRIC, "optimizer=adamw", "optimizer.lr=0.0")
    first, second = ((directory / "samples" / f"step-0000000{k}.png").read_bytes() for k in (2, 4))
    assert first == second


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ((), {"raw": 16, "ema": 16}),
        (("trainer.accumulate_grad_batches=4",), {"raw": 4, "ema": 4}),
        (("data.batch_size=1",), {"raw": 1, "ema": 2}),  # guidance needs two
        (("trainer.accumulate_grad_batches=4", "callbacks.samples.batch_size=20"), {"raw": 4, "ema": 40}),
    ],
)
def test_no_more_images_at_a_time_than_in_training(options, most, fit_run):
    """Grids are guided, which gives the network each image twice (denoising-diffusion-pytorch#74)."""
    many = ("callbacks.samples.num_images=40", "callbacks.samples.guidance=1.5", "callbacks.heldout.num_images=64")
    spy = "+callbacks.spy._target_=support.parts.Widest"
    directory, _, _ = fit_run("run", NO_METRIC, "~callbacks.best", *many, spy, "trainer.max_steps=2", *options)
    assert json.loads((directory / "widest.json").read_text()) == most


EARLY = (NO_METRIC, "~callbacks.heldout", "~callbacks.best", "callbacks.samples.num_images=6", "trainer.max_steps=12")


@pytest.mark.slow
def test_a_first_row_comes_early(fit_run):
    """It proves that sampling works before hours of training, and leaves the training as it is."""
    found = {}
    for name, options in {
        "usual": ("callbacks.samples.every_n_steps=1000",),
        "soon": ("callbacks.samples.every_n_steps=10",),
        "last": ("callbacks.samples.every_n_steps=null",),
        "none": ("callbacks.samples.every_n_steps=1000", "+callbacks.samples.first_step=null"),
    }.items():
        directory, _, module = fit_run(name, *EARLY, *options)
        files = {p.name: Image.open(p).size for p in sorted((directory / "samples").iterdir())}
        found[name] = (files, torch.cat([p.flatten() for p in module.denoiser.parameters()]))
    row, grid = (2 * 66 + 2, 66 + 2), (2 * 66 + 2, 3 * 66 + 2)
    assert found["usual"][0] == {"step-00000001.png": row, "step-00000012.png": grid}
    assert found["soon"][0] == {"step-00000010.png": grid, "step-00000012.png": grid}
    assert found["last"][0] == found["none"][0] == {"step-00000012.png": grid}
    assert all(torch.equal(weights, found["usual"][1]) for _, weights in found.values())


def test_numbers_that_cannot_be_are_named():
    for key in ("num_images", "columns", "batch_size", "first_step"):
        with pytest.raises(UserError, match=f"callbacks.samples.{key}=0 must be at least 1"):
            SampleGrid(1, **{"num_images": 1, "columns": 1, "sampler": None} | {key: 0})

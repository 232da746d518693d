"""Grids of samples."""

import numpy as np
import torch
from PIL import Image

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
    directory, _, _ = fit_run("run", NO_METRIC, "optimizer.lr=0.0")
    first, second = ((directory / "samples" / f"step-0000000{k}.png").read_bytes() for k in (2, 4))
    assert first == second

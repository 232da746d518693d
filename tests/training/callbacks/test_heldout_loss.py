"""The loss on held-out images."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.callbacks.heldout_loss import HeldoutLoss
from support.training import QUIET, rows


def test_heldout_loss_is_the_same_at_any_batch_size(fit_run):
    """A learning rate of 0: nothing may move it, neither steps nor the size of its batches."""
    still = (*QUIET, "optimizer=adamw", "optimizer.lr=0.0")
    first, _, _ = fit_run("first", *still)
    second, _, _ = fit_run("second", *still, "callbacks.heldout.batch_size=7", "data.batch_size=32")
    values = [[r["heldout/loss"] for r in rows(d) if "heldout/loss" in r] for d in (first, second)]
    assert len(values[0]) == 2
    assert values[0][0] == values[0][1]
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_heldout_loss_of_a_zero_network_by_hand(fit_run):
    """A network that says 0 at the start: E (alpha^2 + sigma^2 x_0^2) over the times, computed by hand."""
    directory, _, module = fit_run("run", *QUIET, "optimizer=adamw", "optimizer.lr=0.0", "trainer.max_steps=2")
    x = module.trainer.datamodule.heldout.__getitems__(list(range(32)))[0].double() / 127.5 - 1
    t = module.denoiser.schedule.time_at((torch.arange(32, dtype=torch.float64) + 0.5) / 32)
    alpha, sigma = module.denoiser.schedule(t)
    expected = (alpha**2 + sigma**2 * (x**2).mean(dim=(1, 2, 3), keepdim=True)).mean().item()
    (row,) = [row for row in rows(directory) if "heldout/loss" in row]
    assert row["heldout/loss"] == pytest.approx(expected, rel=0.05)  # noise: 32 x 64 squared normals


def test_heldout_loss_needs_an_image():
    with pytest.raises(UserError, match="callbacks.heldout"):
        HeldoutLoss(1, 0)

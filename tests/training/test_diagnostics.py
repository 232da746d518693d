"""What training says of itself beside the loss: by noise level, on held-out images, of its average."""

import csv

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.weightings import snr
from inkwash.training.callbacks.early_stopping import EarlyStopping
from inkwash.training.callbacks.heldout_loss import HeldoutLoss
from inkwash.training.callbacks.loss_by_snr import LossByNoise

QUIET = ("~callbacks.evaluation", "~callbacks.samples")


def rows(directory):
    with open(directory / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_loss_by_noise_level_is_the_loss_in_pieces(fit_run, tmp_path):
    """Each bin's mean is that of the images whose log SNR falls into it, over two steps."""
    witness = "+callbacks.witness._target_=support.parts.Witness"
    directory, _, module = fit_run("run", *QUIET, witness)
    seen = [torch.load(directory / f"witness-0-{step}.pt") for step in (1, 2)]
    t, losses = (torch.cat([s[key] for s in seen]) for key in ("t", "losses"))
    log_snr = snr(*module.denoiser.schedule(t)).flatten().log().clamp(-10, 10 - 1e-9)
    row = next(row for row in rows(directory) if row["step"] == 2)
    found = {k.removeprefix("loss_by_log_snr/"): v for k, v in row.items() if k.startswith("loss_by_log_snr/")}
    assert len(found) >= 6
    for name, value in found.items():
        low, high = map(float, name.split("_to_"))
        inside = (log_snr >= low) & (log_snr < high)
        assert value == pytest.approx(losses[inside].mean().item(), rel=1e-5), name


def test_heldout_loss_is_the_same_at_any_batch_size(fit_run):
    """A learning rate of 0: nothing may move it, neither steps nor the size of its batches."""
    still = (*QUIET, "optimizer.lr=0.0")
    first, _, _ = fit_run("first", *still)
    second, _, _ = fit_run("second", *still, "callbacks.heldout.batch_size=7", "data.batch_size=32")
    values = [[r["heldout/loss"] for r in rows(d) if "heldout/loss" in r] for d in (first, second)]
    assert len(values[0]) == 2
    assert values[0][0] == values[0][1]
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_heldout_loss_is_an_honest_mean(fit_run):
    """A network that says 0 at the start: E (alpha^2 + sigma^2 x_0^2) over the times, computed by hand."""
    directory, _, module = fit_run("run", *QUIET, "optimizer.lr=0.0", "trainer.max_steps=2")
    x = module.trainer.datamodule.heldout.__getitems__(list(range(32)))[0].double() / 127.5 - 1
    t = module.denoiser.schedule.time_at((torch.arange(32, dtype=torch.float64) + 0.5) / 32)
    alpha, sigma = module.denoiser.schedule(t)
    expected = (alpha**2 + sigma**2 * (x**2).mean(dim=(1, 2, 3), keepdim=True)).mean().item()
    (row,) = [row for row in rows(directory) if "heldout/loss" in row]
    assert row["heldout/loss"] == pytest.approx(expected, rel=0.05)  # noise: 32 x 64 squared normals


def test_average_of_the_first_step_is_the_step_and_then_lags(fit_run):
    directory, _, _ = fit_run("run", *QUIET, "callbacks.ema_distance.every_n_steps=1")
    found = [row["train/ema_distance"] for row in rows(directory) if "train/ema_distance" in row]
    assert found[0] == 0
    assert all(0 < value < 0.2 for value in found[1:])


def test_early_stopping_waits_for_patience(fit_run):
    """2.0, then 1.0, then twice no better: patience 2 ends the run after step 4 of 9.

    One step later, because the fake comes after it in the order of callbacks.
    """
    fake = "+callbacks.fixed={_target_: support.parts.FixedScores, scores: {1: 2.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 0.5}}"
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=2", "~callbacks.heldout")
    monitor = "callbacks.early_stopping.monitor=fd_test_8"
    _, trainer, _ = fit_run("run", *QUIET, fake, *stop, monitor, "trainer.max_steps=9")
    assert trainer.global_step == 5


def test_early_stopping_names_what_is_measured(fit_run):
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=fdi")
    with pytest.raises(UserError, match="monitor=fdi is never measured; this run measures heldout_loss"):
        fit_run("run", *QUIET, *stop)


def test_bad_arguments():
    for make, message in (
        (lambda: LossByNoise(1, 1.0, 0.0), "callbacks.loss_by_noise"),
        (lambda: HeldoutLoss(1, 0), "callbacks.heldout"),
        (lambda: EarlyStopping(mode="least"), "mode=least"),
    ):
        with pytest.raises(UserError, match=message):
            make()

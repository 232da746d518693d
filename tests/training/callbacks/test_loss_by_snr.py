"""The loss by noise level."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.weightings import snr
from inkwash.training.callbacks.loss_by_snr import LossByNoise
from support.training import QUIET, rows


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


def test_bins_need_a_positive_width():
    with pytest.raises(UserError, match="callbacks.loss_by_noise"):
        LossByNoise(1, 1.0, 0.0)

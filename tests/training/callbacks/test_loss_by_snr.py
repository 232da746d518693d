"""The loss by noise level."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.weightings import snr
from inkwash.training.build import build_module
from inkwash.training.callbacks.loss_by_snr import LossByNoise
from support.training import QUIET, rows


def test_loss_by_noise_level_is_the_loss_in_pieces(fit_run, tmp_path):
    """Each bin's mean is that of the images whose log SNR falls into it, over two steps."""
    witness = "+callbacks.witness._target_=support.parts.Witness"
    directory, _, module = fit_run("run", *QUIET, witness)
    seen = [torch.load(directory / f"witness-0-{step}.pt") for step in (1, 2)]
    t, losses = (torch.cat([s[key] for s in seen]) for key in ("t", "raw"))
    log_snr = snr(*module.denoiser.schedule(t)).flatten().log().clamp(-10, 10 - 1e-9)
    row = next(row for row in rows(directory) if row["step"] == 2)
    found = {k.removeprefix("loss_by_log_snr/"): v for k, v in row.items() if k.startswith("loss_by_log_snr/")}
    assert len(found) >= 6
    for name, value in found.items():
        low, high = map(float, name.split("_to_"))
        inside = (log_snr >= low) & (log_snr < high)
        assert value == pytest.approx(losses[inside].mean().item(), rel=1e-5), name


@pytest.mark.parametrize("losses", [[1.0, 1.0], [8.0, 0.25]])
def test_how_often_a_time_is_drawn_is_not_in_the_loss_of_its_bin(losses, compose_config):
    """Importance sampling makes losses / p alike (Nichol & Dhariwal 2021, eq. 18), which says nothing of the levels."""
    module = build_module(compose_config(*QUIET))
    callback = LossByNoise(1, bins=2)
    t = module.denoiser.schedule.time_at(torch.tensor([0.95, 0.05], dtype=torch.float64))
    callback.observe(None, module, {"t": t, "losses": torch.tensor(losses), "raw": torch.tensor([2.0, 0.5])})
    callback._add(module)
    assert (callback.sums[0] / callback.sums[1]).tolist() == [2.0, 0.5]


def test_bins_need_a_positive_width():
    with pytest.raises(UserError, match="callbacks.loss_by_noise"):
        LossByNoise(1, 1.0, 0.0)

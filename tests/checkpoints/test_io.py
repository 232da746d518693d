"""What a checkpoint holds."""

import torch

from inkwash.run import load_run
from support.training import checkpoint, weights


def test_checkpoint_holds_raw_and_averaged_weights_alone(fit_run):
    directory, _, module = fit_run("run")
    state = checkpoint(directory)["state_dict"]
    assert {key.split(".")[0] for key in state} == {"denoiser", "ema_denoiser"}
    assert all(key.split(".")[1] == "net" for key in state)
    raw, average = load_run(directory, weights="raw").denoiser, load_run(directory).denoiser
    assert torch.equal(weights(raw), weights(module.denoiser))
    assert torch.equal(weights(average), weights(module.ema_denoiser))
    assert not torch.equal(weights(raw), weights(average))

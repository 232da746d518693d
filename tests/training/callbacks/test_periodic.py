"""Cadences, and callbacks that do not change the training."""

import pytest
import torch

from support.training import NO_METRIC, rows, weights


@pytest.mark.slow
def test_callbacks_leave_loss_and_weights_as_they_are(fit_run):
    """Loss and weights are bit-identical with grids and metrics and without."""
    watched, _, module = fit_run("watched", "callbacks.samples.every_n_steps=1", "callbacks.evaluation.every_n_steps=1")
    alone, _, other = fit_run("alone", NO_METRIC, "~callbacks.samples")
    assert torch.equal(weights(module.denoiser), weights(other.denoiser))
    assert [row["train/loss"] for row in rows(watched) if row["step"] in (2, 4)] == [
        row["train/loss"] for row in rows(alone)
    ]


@pytest.mark.slow
def test_cadences_count_steps_for_any_size_of_data(fit_run):
    options = (NO_METRIC, "data.shape=[1,8,8]", "~data.source", "trainer.max_steps=6")
    names = []
    for n in (10, 1000):
        source = f"+data.source={{_target_: support.parts.Pictures, n: {n}}}"
        directory, _, _ = fit_run(f"n{n}", *options, source)
        names.append((sorted(p.name for p in directory.rglob("step-*.png")), [row["step"] for row in rows(directory)]))
    assert names[0] == names[1]
    assert names[0][0] == ["step-00000002.png", "step-00000004.png", "step-00000006.png"]

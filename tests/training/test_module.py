"""The LightningModule: steps, averages, accumulation."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.run import load_run
from inkwash.training.ema import ConstantDecay
from support.training import NO_METRIC, weights


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_average_an_optimizer_step(fit_run, accumulate, monkeypatch):
    calls = []
    from inkwash.training import ema

    update = ema.update
    monkeypatch.setattr(ema, "update", lambda *a: (calls.append(a[2]), update(*a)))
    fit_run("run", NO_METRIC, f"trainer.accumulate_grad_batches={accumulate}")
    assert calls == [(1 - 1 / n) ** 16 for n in (1, 2, 3, 4)]


def test_accumulation_trains_on_the_same_global_batch(fit_run):
    """16 images at once, or 8 and 8: the same draws, so the same weights up to rounding."""
    _, _, whole = fit_run("whole", NO_METRIC)
    _, _, parts = fit_run("parts", NO_METRIC, "trainer.accumulate_grad_batches=2")
    torch.testing.assert_close(weights(whole.denoiser), weights(parts.denoiser), rtol=1e-3, atol=1e-5)


def test_ema_never_drops_out(fit_run):
    _, _, module = fit_run("run", NO_METRIC, "model.dropout=0.5")
    module.train()
    assert module.denoiser.training
    assert not any(m.training for m in module.ema_denoiser.modules())


def test_importance_learns_the_same_from_micro_batches(fit_run):
    options = (
        "loss=vlb",
        "times=importance",
        "schedule.betas.T=20",
        "times.history=1",
        NO_METRIC,
        "~callbacks.samples",
        "optimizer.lr=0.0",
    )
    _, _, whole = fit_run("whole", *options)
    _, _, parts = fit_run("parts", *options, "trainer.accumulate_grad_batches=2")
    torch.testing.assert_close(whole.loss.times.losses, parts.loss.times.losses, rtol=1e-4, atol=1e-5)
    assert torch.equal(whole.loss.times.counts, parts.loss.times.counts)


SLOW = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}}"


def test_each_average_follows_its_own_decay(fit_run):
    """min(0.5, n / (9 + n)) by hand from the weights after every step; the run's own average is untouched by it."""
    witness = "+callbacks.witness._target_=support.parts.Witness"
    quiet = ("~callbacks.evaluation", "~callbacks.samples", witness)
    directory, _, module = fit_run("run", SLOW, *quiet)
    steps = [torch.load(directory / f"weights-0-{step}.pt") for step in (1, 2, 3, 4)]
    expected = steps[0]
    for n, raw in enumerate(steps[1:], 2):
        decay = ConstantDecay(0.5)(n)
        expected = decay * expected + (1 - decay) * raw
    torch.testing.assert_close(weights(load_run(directory, weights="slow").denoiser), expected, rtol=1e-5, atol=1e-7)
    _, _, alone = fit_run("alone", *quiet)
    assert torch.equal(weights(module.ema_denoiser), weights(alone.ema_denoiser))


def test_unknown_weights_are_named(fit_run):
    with pytest.raises(UserError, match="weights=fast: this run has ema, raw, slow"):
        fit_run("run", SLOW, "callbacks.evaluation.weights=[ema,fast]")
    directory, _, _ = fit_run("plain", "~callbacks.evaluation", "~callbacks.samples")
    with pytest.raises(UserError, match="weights=slow: this run has ema, raw"):
        load_run(directory, weights="slow")

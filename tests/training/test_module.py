"""The LightningModule: steps, averages, accumulation."""

import pytest
import torch

from inkwash.data.augment import Augment
from inkwash.errors import UserError
from inkwash.nets.magnitude import normalize
from inkwash.random import Draws, generator
from inkwash.run import load_run
from inkwash.training.ema import ConstantDecay
from inkwash.training.module import NUM_SHARDS
from support.networks import EDM2, SONG
from support.training import NO_METRIC, QUIET, weights


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_average_an_optimizer_step(fit_run, accumulate, monkeypatch):
    calls = []
    from inkwash.training import ema

    update = ema.update
    monkeypatch.setattr(ema, "update", lambda *a: (calls.append(a[2]), update(*a)))
    fit_run("run", NO_METRIC, f"trainer.accumulate_grad_batches={accumulate}")
    assert calls == [(1 - 1 / n) ** 16 for n in (1, 2, 3, 4)]


@pytest.mark.slow
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


@pytest.mark.slow
def test_importance_learns_the_same_from_micro_batches(fit_run):
    options = (
        "loss=vlb",
        "times=importance",
        "schedule.betas.T=20",
        "times.history=1",
        NO_METRIC,
        "~callbacks.samples",
        "optimizer=adamw",
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


def test_a_step_is_that_of_augmented_images_of_which_the_network_is_told(fit_run):
    """The losses of a step by hand; times and noise are those of a training without augmentation."""
    _, _, module = fit_run("told", *SONG, "augment.p=0.9", *QUIET, "trainer.max_steps=1", "model.dropout=0.0")
    torch.manual_seed(0)
    for p in module.denoiser.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    x_0, y = torch.rand(16, 1, 8, 8) * 2 - 1, torch.arange(16) % 10
    found = module.training_step((x_0, y), 0)

    def draws(stream):
        return Draws([generator(0, stream, 1, shard) for shard in range(NUM_SHARDS)], total=16)

    changed, told = Augment(0.9)(x_0, draws("augment"))
    terms = module.loss(module.denoiser, changed, None, draws("train"), told)
    assert torch.equal(terms.t, found["t"])
    assert torch.equal(terms.loss.detach(), found["losses"])
    untold = module.loss(module.denoiser, changed, None, draws("train"))
    assert not torch.allclose(untold.loss, terms.loss, rtol=1e-3)


def test_weights_are_put_in_order_when_averages_have_them(fit_run):
    """EDM2's: the first average is the weights after the step, which then get magnitude 1."""
    _, _, module = fit_run("run", *EDM2, *QUIET, "trainer.max_steps=1", "optimizer.lr=0.1")
    raw, average = module.denoiser.net, module.ema_denoiser.net
    for layer, mean in ((raw.input, average.input), (raw.noise, average.noise), (raw.label, average.label)):
        assert torch.equal(normalize(mean.weight, layer.over), layer.weight)
        assert not torch.equal(mean.weight, layer.weight)


def test_unknown_weights_are_named(fit_run):
    with pytest.raises(UserError, match="weights=fast: this run has ema, raw, slow"):
        fit_run("run", SLOW, "callbacks.evaluation.weights=[ema,fast]")
    directory, _, _ = fit_run("plain", "~callbacks.evaluation", "~callbacks.samples")
    with pytest.raises(UserError, match="weights=slow: this run has ema, raw"):
        load_run(directory, weights="slow")

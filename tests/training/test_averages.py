"""Several averages of the same weights, kept and scored side by side."""

import json

import pytest
import torch

from inkwash.errors import UserError
from inkwash.run import load_run
from inkwash.training.ema import ConstantDecay

SLOW = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}}"


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_each_average_follows_its_own_decay(fit_run):
    """min(0.5, n / (9 + n)) by hand from the weights after every step; the run's own average is untouched by it."""
    witness = "+callbacks.witness._target_=fakes.Witness"
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


def test_averages_are_scored_side_by_side(fit_run):
    directory, _, module = fit_run("run", SLOW, "callbacks.evaluation.weights=[ema,raw,slow]", "ema.exponent=1")
    names = ["fd_classifier_8", "fd_classifier_8_raw", "fd_classifier_8_slow"]
    assert {*names} <= {*module.scores}
    assert len({module.scores[name] for name in names}) == 3
    records = {r["name"]: r for r in map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())}
    assert [records[name]["weights"] for name in names] == ["ema", "raw", "slow"]
    assert next(iter(module.lower_is_better)) == "fd_classifier_8"


def test_averages_resume(fit_run):
    options = (SLOW, "~callbacks.evaluation", "~callbacks.samples", "learning_rate.total_steps=4")
    whole, _, _ = fit_run("whole", *options)
    fit_run("parts", *options, "trainer.max_steps=2")
    parts, _, _ = fit_run("parts", *options)
    found = [weights(load_run(directory, weights="slow").denoiser) for directory in (whole, parts)]
    assert torch.equal(*found)


def test_unknown_weights_are_named(fit_run):
    with pytest.raises(UserError, match="weights=fast: this run has ema, raw, slow"):
        fit_run("run", SLOW, "callbacks.evaluation.weights=[ema,fast]")
    directory, _, _ = fit_run("plain", "~callbacks.evaluation", "~callbacks.samples")
    with pytest.raises(UserError, match="weights=slow: this run has ema, raw"):
        load_run(directory, weights="slow")

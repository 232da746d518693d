"""Resumed trainings."""

import json

import pytest
import torch

from inkwash.errors import UserError
from inkwash.run import load_run
from support.selection import mostly_slow
from support.training import NO_METRIC, QUIET, checkpoint, rows, weights


def test_resume_is_a_continuation(fit_run):
    """4 steps at once, or 2 and then 2 more: the same bits in weights, averages and optimizer."""
    options = (NO_METRIC, "learning_rate.total_steps=4", "model.dropout=0.2", "data.batch_size=24", "ema.exponent=3")
    whole, _, _ = fit_run("whole", *options)
    fit_run("parts", *options, "trainer.max_steps=2")
    parts, trainer, _ = fit_run("parts", *options)
    assert trainer.global_step == 4
    a, b = checkpoint(whole), checkpoint(parts)
    assert a["state_dict"].keys() == b["state_dict"].keys()
    assert all(torch.equal(a["state_dict"][k], b["state_dict"][k]) for k in a["state_dict"])
    for x, y in zip(*(c["optimizer_states"][0]["state"].values() for c in (a, b)), strict=True):
        assert all(torch.equal(x[k], y[k]) for k in x)
    drop = "train/images_per_second"
    assert [{k: v for k, v in r.items() if k != drop} for r in rows(whole)] == [
        {k: v for k, v in r.items() if k != drop} for r in rows(parts)
    ]


@pytest.mark.slow
def test_resume_from_before_the_death_repeats_no_rows(fit_run, tmp_path):
    """A run that dies at step 7 goes on from step 4: every row once, and the records of metrics too."""
    options = ("trainer.max_steps=8", "callbacks.evaluation.every_n_steps=2", "callbacks.checkpoint.every_n_steps=4")
    bomb = "+callbacks.bomb={_target_: support.parts.Bomb, rank: 0, step: 7}"
    with pytest.raises(RuntimeError, match="the bomb went off"):
        fit_run("run", *options, bomb)
    assert checkpoint(tmp_path / "run")["global_step"] == 4
    directory, _, _ = fit_run("run", *options)
    first, *others = rows(directory)
    assert (first["step"], any("_of_train_images" in key for key in first)) == (1, True), "the classifier is made then"
    assert [row["step"] for row in others] == [2, 4, 6, 8]
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["name"] == "fd_classifier_8"] == [2, 4, 6, 8]


def test_a_checkpoint_of_another_model_is_refused(fit_run, tmp_path):
    fit_run("run", NO_METRIC)
    with pytest.raises(UserError, match="checkpoint of another prediction"):
        fit_run("run", NO_METRIC, "prediction=eps", "trainer.max_steps=6")


SLOW = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}}"


@pytest.mark.slow
def test_averages_resume(fit_run):
    options = (SLOW, *QUIET, "learning_rate.total_steps=4")
    whole, _, _ = fit_run("whole", *options)
    fit_run("parts", *options, "trainer.max_steps=2")
    parts, _, _ = fit_run("parts", *options)
    found = [weights(load_run(directory, weights="slow").denoiser) for directory in (whole, parts)]
    assert torch.equal(*found)


# --- Objectives with a state of their own -----------------------------------------------------------------------------

SHORT = ("schedule.betas.T=20", "times.history=1")
OBJECTIVES = {
    "vlb": ("loss=vlb", "times=importance", *SHORT),
    "learned variance": ("model.learn_variance=true", "loss=hybrid", "prediction=eps", "times=importance", *SHORT),
    "uncertainty": ("weighting=uncertainty",),
    "mu": ("prediction=mu", "weighting=vlb"),
}


@pytest.mark.parametrize("options", mostly_slow(OBJECTIVES, "vlb"))
def test_an_objective_resumes_with_its_state(fit_run, options):
    """3 + 3 steps are 6 steps, bit for bit: importance has seen every t of 20 after 2 batches of 16, and steers."""
    options = (*options, NO_METRIC, "~callbacks.samples", "learning_rate.total_steps=6")
    whole, _, module = fit_run("whole", *options, "trainer.max_steps=6")
    fit_run("parts", *options, "trainer.max_steps=3")
    parts, _, _ = fit_run("parts", *options, "trainer.max_steps=6")
    a, b = checkpoint(whole)["state_dict"], checkpoint(parts)["state_dict"]
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    if "times=importance" in options:
        assert int(a["loss.times.counts"].sum()) == 6 * 16
        assert module.loss.times.probabilities().std() > 0
    if "weighting=uncertainty" in options:
        assert a["loss.weighting.linear.weight"].abs().max() > 0

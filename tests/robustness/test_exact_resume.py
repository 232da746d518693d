"""2k steps at once, or k steps, a death and k more: the same bits."""

import pytest
import torch

from inkwash.jobs.train import train
from support.networks import EDM2, SONG
from support.run_diff import assert_same_run, checkpoint, differences, rows
from support.runs import DIT
from support.selection import mostly_slow

WITNESS = "+callbacks.witness._target_=support.parts.Witness"
STEPS = ("trainer.max_steps=7", "callbacks.checkpoint.every_n_steps=3", "callbacks.log.every_n_steps=2")
# The death is at step 5, the checkpoint before it of step 3: between two lines of the log, in the middle of an epoch of
# 1347 images, and, with 60 images, after two epochs and a bit.
BOMB = "+callbacks.bomb={_target_: support.parts.Bomb, rank: 0, step: 5}"
SMALL = ("~data.source", "+data.source={_target_: support.parts.Pictures}")
IMPORTANCE = ("times=importance", "times.history=1", "schedule.betas.T=20", "times.uniform=0.1")
JUMPS = ("schedule=flow", "prediction=flow", "model.two_times=true", "model.time_scale=0.001")
LATENTS = ("autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}",)
CASES = {
    "accumulation": ("trainer.accumulate_grad_batches=2", "model.dropout=0.2", *SMALL, "data.flip=true"),
    "importance": ("loss=vlb", *IMPORTANCE, "trainer.accumulate_grad_batches=2"),
    "flow": ("schedule=flow", "prediction=flow", "times=logit_normal", "ema=constant"),
    "muon": ("optimizer=muon", "optimizer.exclude=[time.*]", *SMALL),
    "radam": ("optimizer=radam", *SMALL),
    "transformer": (
        *(*DIT, "model.rotary=true", "model.qk_norm=true", "model.bottleneck=3", "model.context_tokens=2"),
        *("schedule=flow", "prediction=x0", "weighting=velocity", "times=logit_normal_shifted", "optimizer=muon"),
    ),
    "consistency": (
        *("schedule=edm", "prediction=edm", "times=log_normal", "loss=consistency", "loss.stages=4"),
        *("model.dropout=0.2", "trainer.accumulate_grad_batches=2", *SMALL),
    ),
    "mean flow": (
        *(*DIT, *JUMPS, "loss=meanflow", "loss.power=1", "loss.guidance=1.5", "loss.mix=0.5"),
        *("trainer.accumulate_grad_batches=2", *SMALL),
    ),
    "shortcut": (*JUMPS, "model.dropout=0.2", "loss=shortcut", "loss.same=0.5", *SMALL),
    "latents": (*LATENTS, "data.flip=true", "trainer.accumulate_grad_batches=2", "model.dropout=0.2", *SMALL),
    "latents, read ahead": (*LATENTS, "data.num_workers=2", *SMALL),
    "consistency on latents": (
        *("schedule=edm", "prediction=edm", "times=log_normal", "loss=consistency", "loss.stages=3"),
        *LATENTS,
        *SMALL,
    ),
    "readers": ("data.num_workers=2", "optimizer=adam"),
    "song": (*SONG, *SMALL, "augment.p=0.5"),
    "edm2": (*EDM2, *SMALL, "weighting=uncertainty"),
}


def died_and_resumed(new_run, name, *options):
    directory = new_run(name, *options, BOMB)
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(directory)
    assert checkpoint(directory)["global_step"] == 3
    directory = new_run(name, *options)
    train(directory)
    return directory


@pytest.mark.sampled(every=20)
@pytest.mark.parametrize("options", mostly_slow(CASES, "accumulation", "song"))
def test_a_resume_is_exact(new_run, options):
    options = (*STEPS, WITNESS, *options)
    whole = new_run("whole", *options)
    train(whole)
    assert_same_run(whole, died_and_resumed(new_run, "parts", *options))


SCHEDULES = ("linear", "cosine", "quadratic", "sigmoid", "vp", "cosine_shifted", "edm", "flow")
TIMES = {
    "stratified": ("times=stratified",),
    "uniform": ("times=uniform",),
    "log_normal": ("times=log_normal",),
    "logit_normal": ("times=logit_normal",),
    "importance": IMPORTANCE,
}


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_and_times_resume_exactly(new_run, schedule, times, accumulate):
    if times == "importance" and schedule in ("vp", "cosine_shifted", "edm", "flow"):
        pytest.skip("importance sampling needs a chain of whole steps")
    options = (f"schedule={schedule}", *TIMES[times], f"trainer.accumulate_grad_batches={accumulate}", *SMALL)
    options = (*STEPS, WITNESS, *options, "model.dropout=0.1", *(["prediction=edm"] if schedule == "edm" else []))
    whole = new_run("whole", *options)
    train(whole)
    assert_same_run(whole, died_and_resumed(new_run, "parts", *options))


# --- Several processes ------------------------------------------------------------------------------------------------

LINEAR = ("optimizer=adamw", "+optimizer.eps=1.0", "optimizer.lr=0.1")
TWO = ("trainer=ddp_cpu", "trainer.devices=2", WITNESS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [(), *(CASES[name] for name in ("importance", "consistency", "mean flow", "shortcut", "latents"))],
    ids=["plain", "importance", "consistency", "mean flow", "shortcut", "latents"],
)
def test_two_processes_resume_exactly(new_run, jobs, options):
    whole = new_run("whole", *STEPS, *TWO, *options)
    assert jobs.run(whole, 2) == 0, (whole / "output.txt").read_text()
    parts = new_run("parts", *STEPS, *TWO, *options, BOMB)
    assert jobs.run(parts, 2) != 0
    assert checkpoint(parts)["global_step"] == 3
    parts = new_run("parts", *STEPS, *TWO, *options)
    assert jobs.run(parts, 2) == 0
    assert_same_run(whole, parts)


@pytest.mark.parametrize(("before", "after"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_resume_on_another_number_of_processes(new_run, jobs, before, after):
    """To the rounding of sums in another order; and says so. Adam would divide such errors by each other: see eps."""
    layouts = {1: ("trainer=cpu", WITNESS, *LINEAR), 2: (*TWO, *LINEAR)}
    whole = new_run("whole", *STEPS, *layouts[before])
    assert jobs.run(whole, before) == 0
    parts = new_run("parts", *STEPS, *layouts[before], BOMB)
    assert jobs.run(parts, before) != 0
    parts = new_run("parts", *STEPS, *layouts[after])
    assert jobs.run(parts, after) == 0, (parts / "output.txt").read_text()
    for step in (4, 5, 6, 7):
        drawn = [
            [torch.load(run / f"witness-{rank}-{step}.pt") for rank in range(count)]
            for run, count in ((whole, before), (parts, after))
        ]
        for key in ("t", "images", "labels"):
            a, b = (torch.cat([rank[key] for rank in ranks]) for ranks in drawn)
            assert torch.equal(a, b), key
    states = [checkpoint(run)["state_dict"] for run in (whole, parts)]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-5, atol=1e-6)
    losses = [[float(row["train/loss"] or 0) for row in rows(run)] for run in (whole, parts)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-6)
    text = (parts / "train.log").read_text()
    assert f"processes    {before} x 1 -> {after} x 1 micro-batches: the same images, noise and times" in text


@pytest.mark.slow
def test_other_micro_batches_go_on_at_a_whole_step(new_run):
    """A resume with twice the micro-batches: every later step is of the whole batch, from the same noise."""
    whole = new_run("whole", *STEPS, *LINEAR)
    train(whole)
    train(new_run("parts", *STEPS, *LINEAR, "trainer.max_steps=3"))
    parts = new_run("parts", *STEPS, *LINEAR, "trainer.accumulate_grad_batches=2")
    train(parts)
    a, b = (checkpoint(run) for run in (whole, parts))
    assert b["global_step"] == 7
    for name, value in a["state_dict"].items():
        torch.testing.assert_close(value, b["state_dict"][name], rtol=1e-5, atol=1e-6)


def test_the_comparison_can_fail():
    x = {"a": [torch.zeros(2), {"b": 1}]}
    assert differences(x, {"a": [torch.zeros(2), {"b": 1}]}) == []
    assert differences(x, {"a": [torch.tensor([0.0, -0.0]), {"b": 1.0}]}) == [
        "checkpoint.a[0]",
        "checkpoint.a[1].b: 1 != 1.0",
    ]

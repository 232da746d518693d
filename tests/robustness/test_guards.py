"""Failures in training are detected at once, on all ranks, and end in one sentence."""

import re

import pytest
import torch

from inkwash.errors import UserError
from inkwash.jobs.train import train
from support.run_diff import checkpoint, differences, rows

STEPS = ("trainer.max_steps=8", "callbacks.checkpoint.every_n_steps=2", "callbacks.log.every_n_steps=1")
TWO = ("trainer=ddp_cpu", "trainer.devices=2")


def log_of(directory):
    return (directory / "train.log").read_text()


# --- The first batch --------------------------------------------------------------------------------------------------


def test_the_first_batch_is_checked_before_the_first_step(new_run):
    directory = new_run("run", *STEPS, "~data.source", "+data.source={_target_: support.faults.Blank}")
    with pytest.raises(UserError, match="every image of the first batch is of one colour"):
        train(directory)
    assert rows(directory) == [] if (directory / "metrics.csv").exists() else True
    assert not (directory / "checkpoints").exists()


# --- Losses and gradients that are no numbers -------------------------------------------------------------------------

INFINITE = "+callbacks.infinite={{_target_: support.faults.Infinite, steps: {}, rank: {}}}"


def test_an_infinite_gradient_stops_the_run(new_run):
    directory = new_run("run", *STEPS, INFINITE.format([4], 0), "callbacks.guard.every_n_steps=1")
    sentence = r"the gradient stopped being a number at step 5 \(precision 32-true\); the last good checkpoint is kept"
    with pytest.raises(UserError, match=sentence):
        train(directory)
    assert checkpoint(directory)["global_step"] == 4


@pytest.mark.slow
def test_a_step_left_out_leaves_everything_as_it_was(new_run):
    """Weights, moments and the optimizer's own count; the times that learn; and a resume in between is exact."""
    importance = ("loss=vlb", "times=importance", "times.history=1", "schedule.betas.T=20")
    options = (
        *STEPS,
        *importance,
        "optimizer=adamw",
        "callbacks.guard.skip=3",
        INFINITE.format([3, 5], 0),
        "optimizer.weight_decay=0.1",
    )
    directory = new_run("run", *options, "trainer.max_steps=3")
    train(directory)
    before = checkpoint(directory)
    train(new_run("run", *options, "trainer.max_steps=4"))
    after = checkpoint(directory)
    assert after["global_step"] == 4
    moved = [k for k, v in before["state_dict"].items() if not torch.equal(v, after["state_dict"][k])]
    assert not any(name.startswith("denoiser.") for name in moved)
    counts = [{int(s["step"]) for s in c["optimizer_states"][0]["state"].values()} for c in (before, after)]
    assert counts == [{3}, {3}]
    train(new_run("run", *options))
    log = log_of(directory)
    assert "left out     step 4 (precision 32-true): the gradient is not finite; 1 of 3" in log
    assert "left out     step 6 (precision 32-true): the gradient is not finite; 2 of 3" in log
    assert checkpoint(directory)["state_dict"]["loss.times.losses"].isfinite().all()
    whole = new_run("whole", *options)
    train(whole)
    a, b = (checkpoint(run) for run in (whole, directory))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert differences(a[part], b[part]) == []


def test_a_loss_left_out_is_not_learnt_from(new_run):
    options = ("loss=vlb", "times=importance", "times.history=1", "schedule.betas.T=20", "callbacks.guard.skip=1")
    directory = new_run("run", *STEPS, *options, "+callbacks.nan={_target_: support.faults.NanImage, step: 4}")
    train(directory)
    one = r"left out     step 5 \(t from (\d+) to \1, precision 32-true\): the loss is not finite; 1 of 1"
    assert re.search(one, log_of(directory))
    state = checkpoint(directory)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())
    assert int(state["loss.times.counts"].sum()) == 8 * 16 - 1


def test_no_more_steps_are_left_out_than_told(new_run):
    directory = new_run("run", *STEPS, "callbacks.guard.skip=2", INFINITE.format([2, 3, 5], 0))
    with pytest.raises(UserError, match="the gradient stopped being a number at step 6"):
        train(directory)
    assert log_of(directory).count("left out ") == 2
    with pytest.raises(UserError, match="callbacks.guard.skip=-1 must not be negative"):
        train(new_run("other", "callbacks.guard.skip=-1"))


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_leave_out_the_same_step(new_run, jobs, accumulate):
    """The image that is spoilt is rank 1's."""
    options = (*STEPS, *TWO, "callbacks.guard.skip=1", f"trainer.accumulate_grad_batches={accumulate}")
    nan = "+callbacks.nan={_target_: support.faults.NanImage, step: 4, rank: 1}"
    directory = new_run("run", *options, nan, "+callbacks.witness._target_=support.parts.Witness")
    assert jobs.run(directory, 2) == 0, (directory / "output.txt").read_text()
    assert len(re.findall(r"left out     step 5 \(t from (\d+) to \1,", log_of(directory))) == 1
    last = [torch.load(directory / f"weights-{rank}-8.pt") for rank in (0, 1)]
    assert last[0].isfinite().all()
    assert torch.equal(*last)


@pytest.mark.slow
def test_both_ranks_stop_with_the_same_sentence(new_run, jobs):
    nan = "+callbacks.nan={_target_: support.faults.NanImage, step: 4, rank: 1}"
    blind = ("~callbacks.samples", "~callbacks.heldout")  # which would notice, too
    directory = new_run("run", *STEPS, *TWO, *blind, nan, "callbacks.guard.every_n_steps=4")
    assert jobs.run(directory, 2) == 1
    (text,) = {(directory / f"error-rank-{rank}.txt").read_text() for rank in (0, 1)}
    assert re.match(r"error: the loss stopped being a number at step 5 \(t from (\d+) to \1, precision 32-true\)", text)
    assert checkpoint(directory)["global_step"] == 4


# --- Parameters that nothing reaches ----------------------------------------------------------------------------------


def test_idle_parameters_and_constant_averages_are_named(new_run):
    frozen = "+callbacks.frozen={_target_: support.faults.Frozen, name: denoiser.net.input.bias}"
    still = "+callbacks.still={_target_: support.faults.StillAverage}"
    directory = new_run("run", *STEPS, frozen, still, "callbacks.idle.after_steps=5")
    train(directory)
    lines = [line[24:] for line in log_of(directory).splitlines() if " idle " in line]
    assert lines[0] == "idle         no gradient has reached denoiser.net.input.bias in 5 steps"
    assert re.fullmatch(
        r"idle         the average of \S+ and \d+ more parameters did not change in 5 steps.*", lines[1]
    )
    assert len(lines) == 2


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("options", [(), ("weighting=uncertainty",), ("model.num_classes=null",)])
def test_a_sound_training_reaches_every_parameter(new_run, options):
    directory = new_run("run", *STEPS, *options, "callbacks.idle.after_steps=7")
    train(directory)
    assert " idle " not in log_of(directory)


# --- Memory -----------------------------------------------------------------------------------------------------------

FITS = "a training step by itself fits, not with what callbacks draw and measure: "
SMALLER = "pass trainer.accumulate_grad_batches=2, with which they take 8 images at a time, too"


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("kind", "option", "advice"),
    [
        ("torch.OutOfMemoryError", "callbacks.heldout.batch_size=null", SMALLER),
        ("MemoryError", "callbacks.samples.batch_size=80", "leave out callbacks.samples.batch_size=80; without"),
        ("RuntimeError", "data.batch_size=1", r"choose a smaller network with model.\*"),
    ],
)
def test_out_of_memory_ends_in_a_sentence(new_run, kind, option, advice):
    """With keys that are there (denoising-diffusion-pytorch#74)."""
    full = f"+callbacks.memory={{_target_: support.faults.Exhausted, kind: {kind}}}"
    with pytest.raises(UserError, match=rf"out of memory \(.*allocate.*\): {FITS}{advice}") as error:
        train(new_run("run", *STEPS, full, option))
    assert "\n" not in str(error.value)


def test_full_disk_while_any_file_is_written(new_run):
    directory = new_run("run", *STEPS, "+callbacks.disk={_target_: support.faults.Exhausted, kind: OSError}")
    with pytest.raises(UserError, match=r"metrics.csv cannot be written \(No space left on device\): free some space"):
        train(directory)


def test_other_runtime_errors_stay_what_they_are(new_run):
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(new_run("run", *STEPS, "+callbacks.bomb={_target_: support.parts.Bomb, rank: 0, step: 1}"))

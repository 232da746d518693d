"""Snapshots of averages: what is stored, which files stay, and resumes."""

import pytest
import torch
from safetensors.torch import load_file

from inkwash.checkpoints.posthoc import reconstruct
from inkwash.errors import UserError
from inkwash.run import load_run
from inkwash.training.callbacks.snapshots import Snapshots
from support.training import QUIET, weights

POSTHOC = (
    *QUIET, "+callbacks.snapshots._target_=inkwash.training.callbacks.snapshots.Snapshots",
    "+callbacks.snapshots.every_n_steps=1", "+callbacks.snapshots.dtype=float32", "learning_rate.total_steps=4",
    "averages={short: {_target_: inkwash.training.ema.PowerDecay, exponent: 5}, "
    "long: {_target_: inkwash.training.ema.PowerDecay, exponent: 2}}",
)  # fmt: skip


def names(directory):
    return sorted(path.name for path in (directory / "snapshots").iterdir())


def test_a_snapshot_is_the_average(fit_run):
    directory, _, module = fit_run("run", *POSTHOC)
    assert names(directory) == [f"step-0000000{n}.safetensors" for n in (1, 2, 3, 4)]
    stored = load_file(directory / "snapshots/step-00000004.safetensors")
    for name in ("short", "long"):
        for key, parameter in module.weights_of(name).named_parameters():
            assert torch.equal(stored[f"{name}.{key}"], parameter)
    made, step = reconstruct(directory / "snapshots", (5 / (6**2 * 7)) ** 0.5, 4)
    assert step == 4
    for key, parameter in module.weights_of("short").named_parameters():
        torch.testing.assert_close(made[key], parameter, rtol=0, atol=1e-6)
    loaded = load_run(directory, weights="posthoc_0.2").denoiser
    assert not torch.equal(weights(loaded), weights(load_run(directory).denoiser))


@pytest.mark.slow
def test_a_resume_has_the_snapshots_of_an_uninterrupted_run(fit_run):
    whole, _, _ = fit_run("whole", *POSTHOC)
    fit_run("parts", *POSTHOC, "trainer.max_steps=2")
    late = whole / "snapshots/step-00000004.safetensors"
    given_up = whole.parent / "parts/snapshots/step-00000003.safetensors"
    given_up.write_bytes(late.read_bytes())  # of a start that was killed after its checkpoint
    parts, _, _ = fit_run("parts", *POSTHOC)
    assert names(whole) == names(parts)
    for name in names(whole):
        ours, theirs = (load_file(directory / "snapshots" / name) for directory in (whole, parts))
        assert all(torch.equal(ours[key], theirs[key]) for key in {**ours, **theirs})


@pytest.mark.slow
def test_other_lengths_cannot_begin_in_the_middle(fit_run):
    fit_run("run", *POSTHOC, "trainer.max_steps=2")
    with pytest.raises(UserError, match=r"would begin in the middle: leave callbacks and averages as they were"):
        fit_run("run", *POSTHOC, "averages.long.exponent=3")
    without = [override for override in POSTHOC if "snapshots" not in override]
    fit_run("without", *without, "trainer.max_steps=2")
    with pytest.raises(UserError, match=r"this run has no snapshots so far"):
        fit_run("without", *POSTHOC)


def test_only_power_functions_are_stored(fit_run):
    with pytest.raises(UserError, match=r"callbacks.snapshots.names has slow, and there is no such average"):
        fit_run("a", *POSTHOC, "+callbacks.snapshots.names=[short,slow]")
    constant = "averages.long={_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}"
    with pytest.raises(UserError, match=r"its decay is a ConstantDecay: lengths can be made of"):
        fit_run(
            "b",
            *POSTHOC,
            constant.replace("averages.long=", "++averages.constant="),
            "+callbacks.snapshots.names=[constant]",
        )


@pytest.mark.parametrize(
    ("step", "spacing"),
    [(100, 100), (400, 100), (500, 200), (800, 200), (900, 200), (1000, 400), (1999, 400), (2000, 800)],
)
def test_files_are_thinned_as_the_run_grows(step, spacing):
    assert Snapshots(100, keep=4)._spacing(step) == spacing
    assert Snapshots(100, keep=None)._spacing(step) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 1}, "callbacks.snapshots.keep=1 must be at least 2"),
        ({"dtype": "bfloat16"}, "callbacks.snapshots.dtype=bfloat16 must be float16 or float32"),
        ({"names": []}, r"callbacks.snapshots.names=\[\] stores nothing"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Snapshots(100, **arguments)

"""Out of memory: the sentence names what would fit, `auto` finds it, and what is trained is the same batch."""

import re
import subprocess
import sys

import pytest

from inkwash.errors import UserError
from inkwash.jobs.train import train
from support.memory import PEAK
from support.run_diff import checkpoint, differences, rows
from support.runs import environment

STEPS = (
    "trainer.max_steps=2", "callbacks.checkpoint.every_n_steps=1", "callbacks.log.every_n_steps=1",
    "data.batch_size=1024", "model.channels=32", "~callbacks.samples", "~callbacks.heldout", "~callbacks.best",
)  # fmt: skip
# Beside what the process has already, which is far less than a step of 1,024 images takes.
LIMIT = {"RLIMIT_AS": 400_000_000}
AUTO = "trainer.accumulate_grad_batches=auto"


@pytest.mark.slow
def test_batch_too_large_names_one_that_fits(new_run, jobs):
    """A real limit on the memory of the process, on the CPU."""
    directory = new_run("run", *STEPS)
    assert jobs.run(directory, limits=LIMIT) == 1
    said = (directory / "error-rank-0.txt").read_text()
    told = re.fullmatch(
        r"error: out of memory \(.*\): (\d+) images at a time fit: pass trainer.accumulate_grad_batches=(\d+) "
        r"\(auto finds it\), which trains on the same batch in \2 parts, or lower data.batch_size\n", said,
    )  # fmt: skip
    assert told, said
    images, parts = map(int, told.groups())
    assert images * parts == 1024
    assert parts > 1

    named = new_run("named", *STEPS, f"trainer.accumulate_grad_batches={parts}")
    assert jobs.run(named, limits=LIMIT) == 0, (named / "output.txt").read_text()
    found = new_run("found", *STEPS, AUTO)
    assert jobs.run(found, limits=LIMIT) == 0, (found / "output.txt").read_text()
    taken = re.search(r"memory       takes (\d+) images at a time: (\d+) parts", (found / "train.log").read_text())
    images, parts = map(int, taken.groups())
    assert images * parts == 1024
    assert parts > 1
    plenty = new_run("plenty", *STEPS, f"trainer.accumulate_grad_batches={parts}")
    assert jobs.run(plenty) == 0
    a, b = (checkpoint(run) for run in (plenty, found))
    for part in ("state_dict", "optimizer_states", "layout"):
        assert differences(a[part], b[part]) == []
    assert rows(plenty) == rows(found)


@pytest.mark.slow
def test_where_everything_fits_auto_changes_nothing(new_run):
    """Neither weights nor random numbers are touched by the trial, whatever learns from losses and drops out."""
    options = (
        "trainer.max_steps=3",
        "model.dropout=0.2",
        "loss=vlb",
        "times=importance",
        "times.history=1",
        "schedule.betas.T=20",
    )
    whole, auto = new_run("whole", *options), new_run("auto", *options, AUTO)
    for directory in (whole, auto):
        train(directory)
    assert "memory       takes 16 images at a time: 1 parts" in (auto / "train.log").read_text()
    a, b = (checkpoint(run) for run in (whole, auto))
    for part in ("state_dict", "optimizer_states", "layout"):
        assert differences(a[part], b[part]) == []


@pytest.mark.slow
def test_a_resume_keeps_the_parts_it_had(new_run):
    """The same bits, although more would fit now."""
    train(new_run("run", "trainer.max_steps=2", "trainer.accumulate_grad_batches=4"))
    run = new_run("run", "trainer.max_steps=4", AUTO)
    train(run)
    whole = new_run("whole", "trainer.max_steps=4", "trainer.accumulate_grad_batches=4")
    train(whole)
    assert "memory       takes 4 images at a time: 4 parts" in (run / "train.log").read_text()
    assert differences(checkpoint(run)["state_dict"], checkpoint(whole)["state_dict"]) == []


def test_without_room_for_one_image_the_model_is_named(new_run):
    directory = new_run("run", AUTO, "+callbacks.full={_target_: support.faults.NoRoom, images: 0}")
    with pytest.raises(UserError, match="not even one image at a time fits, whatever data.batch_size: lower model"):
        train(directory)


@pytest.mark.slow
def test_two_processes_take_what_fits_on_both(new_run, jobs):
    full = "+callbacks.full={_target_: support.faults.NoRoom, images: 3, rank: 1}"
    directory = new_run("run", AUTO, full, "trainer=ddp_cpu", "trainer.devices=2")
    assert jobs.run(directory, 2) == 0, (directory / "output.txt").read_text()
    assert "memory       takes 2 images at a time: 4 parts" in (directory / "train.log").read_text()
    assert checkpoint(directory)["layout"] == {"processes": 2, "micro_batches": 4}


def test_other_words_for_it_are_refused(compose_config):
    with pytest.raises(UserError, match="accumulate_grad_batches=all must be a whole number, or auto"):
        compose_config("trainer.accumulate_grad_batches=all")


@pytest.mark.slow
def test_grids_and_metrics_need_no_more_memory_than_training(new_run, tmp_path):
    """Peak memory of whole trainings, with micro-batches of two images (denoising-diffusion-pytorch#74)."""
    peaks = {}
    for name, options in {"without": ("~callbacks.samples", "~callbacks.heldout"), "with": ()}.items():
        large = (
            "model.channels=32", "spacing.steps=1", "data.batch_size=2", "data.shape=[3,64,64]", "~data.source",
            "+data.source={_target_: support.parts.Pictures, n: 100}", "trainer.max_steps=1",
            "callbacks.samples.num_images=80", "callbacks.samples.guidance=1.5", "callbacks.heldout.num_images=80",
        )  # fmt: skip
        directory = new_run(name, *large, *options, "~callbacks.best")
        code = "from pathlib import Path; from inkwash.jobs.train import train; "
        code += f"train(Path({str(directory)!r})); print({PEAK})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        peaks[name] = int(done.stdout.split()[-1])
    assert peaks["with"] < 1.05 * peaks["without"], peaks

"""inkwash resume: which runs go on, and what the others are told. The runs are files as a training leaves them."""

import json
import shutil
from pathlib import Path

import pytest

from inkwash.commands.resume import resume
from inkwash.errors import UserError
from support.autoencoders import save_config

CONFIG = """
trainer:
  max_steps: {steps}
callbacks:
  checkpoint:
    _target_: inkwash.training.callbacks.checkpoints.ResumeCheckpoint
    every_n_steps: {every}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def left(path, state="stopped", step=0, checkpoint=True, every=500):
    """Write a run's directory as a training of up to 3000 steps leaves it."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG.format(steps=3000, every=every))
    (path / "run.json").write_text(json.dumps({"id": "x", "command": "inkwash train seed=3 run=one"}))
    (path / "status.json").write_text(json.dumps({"state": state, "time": 0}))
    if step:
        (path / "metrics.csv").write_text(f"step,train/loss\n{step},0.5\n")
    if checkpoint:
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / f"step-{step:08d}.ckpt").touch()
    return path


# --- Without checkpoints ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [[], ["trainer.max_steps=6000"]])
@pytest.mark.parametrize(
    ("state", "step", "every"), [("finished", 3000, 500), ("stopped", 501, 500), ("finished", 30, 500)]
)
def test_a_run_whose_checkpoints_are_gone_keeps_its_records(here, state, step, every, typed):
    """It would begin anew, and drop what it has measured."""
    left(here / "runs" / "one", state, step, checkpoint=False, every=every)
    with pytest.raises(UserError) as refused:
        resume(["run=one", *typed])
    assert str(refused.value) == (
        f"run=one has no checkpoint from which its {step} steps go on, and beginning anew would delete their records: "
        "make train from=one run=NAME begins another run with the same overrides"
    )


@pytest.mark.parametrize(("state", "step", "every"), [("running", 500, 500), ("failed", 20, 500), ("stopped", 0, 500)])
def test_a_run_that_ended_before_its_first_checkpoint_begins_anew(here, state, step, every):
    left(here / "runs" / "one", state, step, checkpoint=False, every=every)
    assert resume(["run=one"]) == ["seed=3", "run=one"]


def test_a_run_that_never_saves_keeps_its_records(here):
    path = left(here / "runs" / "one", "running", 20, checkpoint=False)
    (path / "config.yaml").write_text("trainer:\n  max_steps: 3000\ncallbacks: {}\n")
    with pytest.raises(UserError, match="run=one has no checkpoint from which its 20 steps go on"):
        resume(["run=one"])


# --- Where the run is -------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(here):
    """Another disk, to which runs/ of this folder leads."""
    left(here / "disk" / "store" / "one", step=500)
    (here / "disk" / "store" / "latest").symlink_to("one")
    (here / "runs").symlink_to(here / "disk" / "store")
    return here / "disk" / "store"


@pytest.mark.parametrize("name", ["one", "runs/one", "latest", "{disk}/one", "{disk}/latest", None])
def test_a_run_on_another_disk_goes_on_from_here(here, disk, name):
    assert resume([f"run={name.format(disk=disk)}"] if name else []) == ["seed=3", "run=one"]
    assert Path.cwd() == here


def test_a_linked_folder_elsewhere_goes_on_beside_its_link(here, disk, monkeypatch):
    """From where relative paths of its images count."""
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert resume([f"run={here}/runs/latest"]) == ["seed=3", "run=one"]
    assert Path.cwd() == here


def test_a_single_run_may_be_a_link(here):
    left(here / "disk" / "of-ours", step=500)
    (here / "runs").mkdir()
    (here / "runs" / "one").symlink_to(here / "disk" / "of-ours")
    assert resume(["run=one"]) == ["seed=3", "run=one"]


def test_a_job_of_a_linked_sweep_goes_on_with_it(here, disk):
    left(disk / "mine" / "job", step=500)
    (disk / "mine" / "command.txt").write_text("make sweep sweep=mine seed=1,2\n")
    for name in ("mine/job", f"{disk}/mine/job"):
        with pytest.raises(UserError, match="goes on as a whole: make sweep sweep=mine seed=1,2$"):
            resume([f"run={name}"])


def test_a_finished_run_elsewhere_is_called_by_its_path(here, monkeypatch):
    path = left(here / "project" / "runs" / "one", "finished", 3000)
    with pytest.raises(UserError) as refused:
        resume([f"run={path}"])
    assert str(refused.value) == (
        f"run={path} is finished, after 3000 steps: make resume run={path} trainer.max_steps=6000 goes on with it, "
        f"make sample run={path} draws images"
    )


# --- The autoencoder --------------------------------------------------------------------------------------------------


def test_a_run_on_latents_goes_on_with_the_autoencoder_that_it_keeps(here, capsys):
    """Only if the one it was started with is gone, and no other is typed."""
    run = left(here / "runs" / "one", step=500)
    with open(run / "config.yaml", "a") as file:
        file.write("autoencoder:\n  _target_: inkwash.autoencoders.pretrained.KL\n  path: kl\n")
    (run / "run.json").write_text(json.dumps({"id": "x", "command": "inkwash train autoencoder.path=kl seed=3"}))
    save_config(here / "kl")
    save_config(run / "autoencoder")
    assert resume(["run=one"]) == ["autoencoder.path=kl", "seed=3", "run=one"]
    shutil.rmtree(here / "kl")
    assert resume(["run=one"]) == ["seed=3", "autoencoder.path=runs/one/autoencoder", "run=one"]
    assert "autoencoder.path=kl is no longer there" in capsys.readouterr().err
    assert resume(["run=one", "autoencoder.path=other"]) == ["seed=3", "autoencoder.path=other", "run=one"]
    shutil.rmtree(run / "autoencoder")
    assert resume(["run=one"]) == ["autoencoder.path=kl", "seed=3", "run=one"]

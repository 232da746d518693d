"""inkwash resume: which runs go on, and what the others are told. The runs are files as a training leaves them."""

import json

import pytest

from inkwash.commands.resume import resume
from inkwash.errors import UserError

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
    """Write a run's directory as a training of up to 2000 steps leaves it."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG.format(steps=2000, every=every))
    (path / "run.json").write_text(json.dumps({"id": "x", "command": "inkwash train seed=3 run=one"}))
    (path / "status.json").write_text(json.dumps({"state": state, "time": 0}))
    if step:
        (path / "metrics.csv").write_text(f"step,train/loss\n{step},0.5\n")
    if checkpoint:
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / f"step-{step:08d}.ckpt").touch()
    return path


# --- Without checkpoints ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [[], ["trainer.max_steps=4000"]])
@pytest.mark.parametrize(
    ("state", "step", "every"), [("finished", 2000, 500), ("stopped", 501, 500), ("finished", 30, 500)]
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
    (path / "config.yaml").write_text("trainer:\n  max_steps: 2000\ncallbacks: {}\n")
    with pytest.raises(UserError, match="run=one has no checkpoint from which its 20 steps go on"):
        resume(["run=one"])

"""trainer.options.max_time."""

import json
import re

import pytest

from inkwash.training.callbacks.time_limit import TimeLimit
from support.training import QUIET

LIGHT = (*QUIET, "~callbacks.heldout", "~callbacks.best")


def limit(seconds):
    return f"+trainer.options.max_time={{seconds: {seconds}}}"


def read(directory):
    return json.loads((directory / "summary.json").read_text())


@pytest.mark.slow
def test_a_training_ends_when_its_time_is_up(fit_run):
    """And goes on for as long again, or to its last step once it may take longer."""
    directory, trainer, _ = fit_run("run", *LIGHT, "trainer.max_steps=99999", limit(1))
    done = trainer.global_step
    assert 0 < done < 99999
    assert (directory / "checkpoints" / f"step-{done:08d}.ckpt").exists()
    said = f"stopped      at step {done} of 99999: trainer.options.max_time={{'seconds': 1}} is over"
    assert said in (directory / "train.log").read_text()
    _, trainer, _ = fit_run("run", *LIGHT, "trainer.max_steps=99999", limit(1))
    again = trainer.global_step
    assert done < again < 99999
    assert read(directory)["loss"] > 0
    _, trainer, _ = fit_run("run", *LIGHT, f"trainer.max_steps={again + 2}", "+trainer.options.max_time=01:00:00:00")
    assert trainer.global_step == again + 2
    assert len(re.findall("max_time=.* is over", (directory / "train.log").read_text())) == 2


@pytest.mark.slow
def test_a_start_without_time_for_a_step_keeps_the_summary(fit_run):
    directory, _, _ = fit_run("run", *LIGHT, "trainer.max_steps=2")
    before = read(directory)
    _, trainer, _ = fit_run("run", *LIGHT, "trainer.max_steps=4", limit(0))
    assert trainer.global_step == 2
    after = read(directory)
    assert after["loss"] == before["loss"] > 0
    assert after["images_per_second"] == before["images_per_second"] > 0


def test_the_time_of_an_earlier_start_does_not_count():
    """Also that of a checkpoint which Lightning's own callback has written."""
    new = TimeLimit("00:00:00:09")
    new.load_state_dict({"time_elapsed": {"train": 1e6}})
    assert new.time_remaining() == 9
    assert new.state_dict() == {}

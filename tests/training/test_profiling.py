"""Profilers, and the line on where the time went."""

import re
import time

import pytest

from inkwash.training.profiling import REST, Simple, part_of
from support.training import NO_METRIC


def test_the_time_of_an_action_is_without_those_within_it(tmp_path):
    profiler = Simple(str(tmp_path), "profile")
    with profiler.profile("[LightningModule]DiffusionModule.optimizer_step"):
        time.sleep(0.02)
        with profiler.profile("[Strategy]S.training_step"):
            time.sleep(0.06)
        with profiler.profile("[Strategy]S.backward"):
            time.sleep(0.1)
    parts = {part_of(action): seconds for action, seconds in profiler.seconds.items()}
    assert parts == {
        "optimizer": pytest.approx(0.02, abs=0.015), "forward": pytest.approx(0.06, abs=0.02),
        "backward": pytest.approx(0.1, abs=0.03),
    }  # fmt: skip
    assert re.fullmatch(r"0\.\d s: backward \d+%, forward \d+%, optimizer \d+%", profiler.told())


@pytest.mark.parametrize(
    ("action", "part"),
    [
        ("[_TrainingEpochLoop].train_dataloader_next", "data"),
        ("[Callback]Evaluation.on_train_batch_end", "metrics"),
        ("[Callback]SampleGrid.on_train_batch_end", "grids"),
        ("[Callback]ResumeCheckpoint.on_train_batch_end", "checkpoints"),
        ("[LightningModule]DiffusionModule.configure_gradient_clipping", "optimizer"),
        ("run_training_epoch", REST),
    ],
)
def test_parts(action, part):
    assert part_of(action) == part


@pytest.mark.parametrize(
    ("name", "content"), [("simple", "training_step"), pytest.param("pytorch", "aten::", marks=pytest.mark.slow)]
)
def test_a_profile_lands_in_the_run(name, content, fit_run):
    directory, _, _ = fit_run("run", f"profiler={name}", NO_METRIC)
    log = (directory / "train.log").read_text()
    told = log[log.index(" time         ") :]
    assert {"forward", "backward", "optimizer", "data", "grids"} <= {*re.findall(r"([a-z]+) \d+%", told)}
    assert content in (directory / "fit-profile.txt").read_text()


def test_an_option_of_lightnings_needs_no_plus():
    from inkwash.config.cli import compose

    assert compose("trainer.options.detect_anomaly=true").trainer.options.detect_anomaly is True

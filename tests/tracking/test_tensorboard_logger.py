"""What TensorBoard gets, read back from its event files by its own reader."""

import contextlib
import csv
import json
import logging

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from inkwash.tracking.tensorboard_logger import TensorBoard


def read(directory):
    """Return {name: {step: value}} of all scalars, {name: [steps]} of all pictures, and the hyper-parameters."""
    events = EventAccumulator(str(directory / "tensorboard"), {SCALARS: 0, IMAGES: 0}).Reload()
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert all(len(dict(points)) == len(points) for points in scalars.values())  # no step twice
    pictures = {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}
    contents = {}
    with contextlib.suppress(KeyError):  # none were logged
        contents = events.PluginTagToContent("hparams")
    started = [HParamsPluginData.FromString(content).session_start_info for content in contents.values()]
    params = {name: value for info in started for name, value in info.hparams.items()}
    return {tag: dict(points) for tag, points in scalars.items()}, pictures, params


def test_a_training_is_there_with_numbers_grids_and_configuration(fit_run, capsys):
    directory, _, _ = fit_run("run", "logger=tensorboard", "~callbacks.evaluation")
    scalars, pictures, params = read(directory)
    with open(directory / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                assert (value == "") == (step not in scalars[name])
                if value:
                    assert scalars[name][step] == pytest.approx(float(value), rel=1e-6)
    assert pictures == {"samples": [2, 4]}
    assert params["model.channels"].number_value == 8
    assert params["schedule._target_"].string_value.endswith("BetaSchedule")
    assert params["run.world_size"].number_value == 1
    assert "tensorboard" in (directory / "train.log").read_text()
    assert "litlogger" not in capsys.readouterr().err


def test_steps_that_a_resumed_run_repeats_are_there_once(tmp_path):
    """A kill after step 6, whose checkpoint is of step 4."""
    first = TensorBoard(str(tmp_path))
    first.forget_after(-1)
    for step in (2, 4, 6):
        first.log_metrics({"a": step}, step)
        first.log_picture("samples", torch.zeros(3, 4, 4, dtype=torch.uint8), step)
    second = TensorBoard(str(tmp_path))
    second.forget_after(4)
    for step in (6, 8):
        second.log_metrics({"a": 10 * step}, step)
        second.log_picture("samples", torch.zeros(3, 4, 4, dtype=torch.uint8), step)
    scalars, pictures, _ = read(tmp_path)
    assert scalars["a"] == {2: 2, 4: 4, 6: 60, 8: 80}
    assert pictures["samples"] == [2, 4, 6, 8]


def test_each_row_is_written_at_once(tmp_path):
    """A kill loses none: nothing is closed here."""
    logger = TensorBoard(str(tmp_path))
    logger.log_hyperparams({"model": {"channels": 8, "mults": [1, 2]}, "seed": None})
    logger.log_metrics({"a": 1.0}, 1)
    scalars, _, params = read(tmp_path)
    assert scalars == {"a": {1: 1.0}}
    assert {name: value.number_value or value.string_value for name, value in params.items()} == {
        "model.channels": 8, "model.mults": "[1, 2]", "seed": "None",
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_of_two_starts_resumes_in_the_same_files(fit_run, caplog):
    steps = ("logger=tensorboard", "~callbacks.evaluation", "~callbacks.samples", "learning_rate.total_steps=6")
    directory, _, _ = fit_run("run", *steps)
    (directory / "checkpoints" / "step-00000004.ckpt").unlink()
    last = directory / "checkpoints" / "last.ckpt"
    last.unlink()
    last.hardlink_to(directory / "checkpoints" / "step-00000002.ckpt")
    with caplog.at_level(logging.INFO, "inkwash"):
        fit_run("run", *steps, "trainer.max_steps=6")
    assert "from step 2" in caplog.text
    scalars, _, _ = read(directory)
    assert [*scalars["train/loss"]] == [2, 4, 6]
    assert json.loads((directory / "summary.json").read_text())["steps"] == 6

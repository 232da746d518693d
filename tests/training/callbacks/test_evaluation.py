"""Metrics during training."""

import csv
import json
import re

import pytest
import torch

from inkwash.autoencoders.base import Identity
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.metrics.accuracy import ClassAccuracy
from inkwash.metrics.extractors.classifier import ClassifierFeatures
from inkwash.metrics.suite import Suite
from inkwash.runs.directory import RunDirectory
from inkwash.training.callbacks.generation import of_reconstructions


@pytest.fixture
def digits(compose_config):
    return build(compose_config()["data"])


def test_data_without_labels_are_measured_without_a_classifier(fit_run):
    source = (
        "~data.source",
        "+data.source={_target_: support.parts.Pictures, labelled: false}",
        "data.num_classes=null",
    )
    directory, trainer, module = fit_run("run", *source)
    assert trainer.global_step == 4
    assert {*module.scores} == {"fd_pyramid_8", "heldout_loss"}
    log = (directory / "train.log").read_text()
    assert "extractor=auto: pyramid; not inception: the images are smaller than 32 x 32; not classifier: no cl" in log
    assert log.count("no accuracy: the images are drawn without class labels") == 1
    assert "training the metrics' classifier" not in log
    assert RunDirectory(directory).extractor_name == "pyramid"


def test_a_set_too_small_for_a_metric_trains(fit_run):
    """improved-diffusion#63, minDiffusion#3."""
    source = ("~data.source", "+data.source={_target_: support.parts.Pictures, n: 1}", "data.num_classes=null")
    directory, trainer, module = fit_run("run", *source)
    assert trainer.global_step == 4
    assert [*module.scores] == ["heldout_loss"]
    assert "no fd: it needs 2 heldout images, there are 1" in (directory / "train.log").read_text()


@pytest.mark.slow
def test_a_classifier_is_trained_after_the_first_step_and_changes_nothing(fit_run, tmp_path, capfd):
    cold = (f"extractor.cache_dir={tmp_path / 'cold'}", f"callbacks.evaluation.cache_dir={tmp_path / 'cold'}")
    directory, _, module = fit_run("cold", *cold, "callbacks.progress.log_seconds=0")
    warm, _, again = fit_run("warm", *cold)
    shown = capfd.readouterr().err
    assert shown.index("1/4 steps") < shown.index("training the metrics' classifier") < shown.index("2/4 steps")
    left = re.search(r"2/4 steps, 00:(\d\d) left", shown)
    assert left is not None
    assert int(left[1]) <= 3
    assert module.scores == again.scores
    for run in (directory, warm):
        with open(run / "metrics.csv") as file:
            rows = [row["step"] for row in csv.DictReader(file) if row["metrics/classifier_heldout_accuracy"]]
        assert rows == ["1"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(fit_run):
    with pytest.raises(UserError, match="/proc/nowhere cannot be written"):
        fit_run("run", "callbacks.evaluation.cache_dir=/proc/nowhere", "extractor.cache_dir=/proc/nowhere")


SLOW = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}}"


def test_averages_are_scored_side_by_side(fit_run):
    directory, _, module = fit_run("run", SLOW, "callbacks.evaluation.weights=[ema,raw,slow]", "ema.exponent=1")
    names = ["fd_classifier_8", "fd_classifier_8_raw", "fd_classifier_8_slow"]
    assert {*names} <= {*module.scores}
    assert len({module.scores[name] for name in names}) == 3
    records = {r["name"]: r for r in map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())}
    assert [records[name]["weights"] for name in names] == ["ema", "raw", "slow"]
    assert {records[name]["labels"] for name in names} == {"reference"}
    assert next(iter(module.lower_is_better)) == "fd_classifier_8"


@pytest.mark.parametrize(
    ("overrides", "floors"),
    [
        ((), ["fd_pyramid_64"]),
        (("metrics=[infinity,fid,interval]",), ["fd_pyramid_64"]),  # wherever it stands, and of no other distance
        (("metrics=[infinity,interval]",), []),
        (("callbacks.evaluation.reference=train",), []),  # training images have no distance to themselves
    ],
)
def test_the_floor_is_that_of_the_plain_distance_to_other_images(overrides, floors, compose_config, digits, tmp_path):
    settings = ("extractor=pyramid", "metrics=[fid]", "callbacks.evaluation.num_images=64")
    config = compose_config(*settings, f"callbacks.evaluation.cache_dir={tmp_path}", *overrides)
    evaluation = build(config["callbacks"]["evaluation"])
    evaluation.suite.prepare(digits.train, digits.heldout, tmp_path, evaluation.reference)
    context = evaluation._context(digits)
    assert [name for name in context if name.endswith("_of_train_images")] == [f"{n}_of_train_images" for n in floors]
    assert all(value > 0 for value in context.values())


def test_reconstructions_are_of_the_classes_of_their_images(digits, data_dir, tmp_path):
    """An autoencoder that changes nothing leaves the classifier as right as it is."""
    suite = Suite(ClassifierFeatures(str(data_dir / "cache")), [ClassAccuracy()], 450)
    suite.prepare(digits.train, digits.heldout, tmp_path, labelled=True)
    found = of_reconstructions(suite, Identity((1, 8, 8)), digits.heldout, range(450), torch.device("cpu"))
    assert found == {"accuracy_classifier_450_of_reconstructions": pytest.approx(suite.extractor.heldout_accuracy)}

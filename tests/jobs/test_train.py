"""A training from its directory: files, shapes, mistakes."""

import json
import re

import pytest

from inkwash.errors import user_error
from inkwash.metrics.extractors import classifier
from inkwash.run import load_run
from support.runs import WITH_PAGE
from support.training import NO_METRIC, PAGE, rows


def test_a_run_leaves_everything_in_its_directory(fit_run):
    directory, trainer, _ = fit_run("run", WITH_PAGE)
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    assert files == [
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/step-00000002.ckpt",
        "checkpoints/step-00000004.ckpt", "config.yaml", "metrics.csv", "metrics.jsonl",
        *PAGE, "run.json",
        "samples/step-00000002.png", "samples/step-00000004.png", "summary.json", "train.log",
    ]  # fmt: skip
    assert not any(set("= ,()#$") & set(name) for name in files)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["steps"] == trainer.global_step == 4
    assert summary["images"] == 64
    record = summary["metrics"]["fd_classifier_8"]
    assert record["value"] >= 0
    expected = {
        "n_real": 450,
        "n_fake": 8,
        "extractor": "classifier",
        "weights": "ema",
        "sampler": "Ancestral",
        "steps": 2,
    }
    assert expected.items() <= record.items()
    assert summary["loss"] == pytest.approx(rows(directory)[-1]["train/loss"])


def test_a_finished_run_is_left_as_it_is(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC)
    before = {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != "train.log"}
    fit_run("run", NO_METRIC)
    assert before == {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != "train.log"}


@pytest.mark.parametrize("shape", ["[1,28,28]", "[3,32,48]", "[4,16,16]"])
def test_any_shape_trains_samples_and_is_measured(fit_run, shape, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 10)  # a poor judge is judge enough here
    source = "+data.source={_target_: support.parts.Pictures}"
    directory, _, module = fit_run(
        "run",
        "~data.source",
        source,
        f"data.shape={shape}",
        "trainer.max_steps=2",
        "callbacks.evaluation.every_n_steps=2",
        "extractor=classifier",  # auto: six images of a class are too few
    )
    assert module.scores["fd_classifier_8"] >= 0
    run = load_run(directory)
    assert list(run.shape) == json.loads(shape)


def test_wrong_configurations_end_in_a_sentence(fit_run):
    cases = {
        "multiple": ("trainer.accumulate_grad_batches=3",),
        "data.shape": ("data.shape=[3,8,8]",),
        "multiples of 2": ("data.shape=[1,9,9]",),
        "ill-posed": ("schedule=flow", "prediction=eps"),
        "more than the schedule's T=1000": ("spacing.steps=2000",),
        "must be one of auto": ("trainer.precision=bf17",),
        "torch sees no GPU": ("trainer.accelerator=gpu",),
        "num_heads=3 must divide": ("model.num_heads=3",),
        "unexpected keyword argument 'foo'": ("optimizer=adamw", "+optimizer.foo=1"),
        "classes|labels": ("data.num_classes=5",),
    }
    for sentence, overrides in cases.items():
        with pytest.raises(Exception) as error:
            fit_run("bad", NO_METRIC, *overrides)
        mistake = user_error(error.value)
        assert mistake is not None, (overrides, error.value)
        assert re.search(sentence, str(mistake)), str(mistake)
        assert "\n" not in str(mistake)

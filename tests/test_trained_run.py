"""What a loaded run offers in a notebook."""

import warnings

import pytest
import torch

import inkwash
from inkwash.errors import UserError
from inkwash.process.spacing import Trailing
from inkwash.run import load_run
from inkwash.samplers.ddim import DDIM
from support.in_process import Commands
from support.runs import QUICK, TESTS

GOLDEN = TESTS / "golden" / "runs"


@pytest.fixture(scope="module")
def run():
    return load_run(GOLDEN / "default")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without classes, in a folder where it is the latest."""
    place = tmp_path_factory.mktemp("place")
    few = ("~callbacks.evaluation", "~callbacks.samples", "trainer.max_steps=1", "data.num_classes=null")
    ended = Commands(place)("train", *QUICK, *few, "run=plain")
    assert ended.code == 0, ended.text
    return place


def test_images_of_the_runs_own_sampler(run):
    images = run.sample(4)
    assert (images.shape, images.dtype, images.device.type) == ((4, 1, 8, 8), torch.uint8, "cpu")
    assert torch.equal(run.sample(2), images[:2])
    assert not torch.equal(run.sample(4, seed=1), images)
    assert torch.equal(run.sample(4, guidance=run.scale(None)), images)
    assert len(run.sample()) == 16
    assert type(run.sampler).__name__ == "Ancestral"


def test_labels_by_number(run):
    ddim = DDIM(Trailing(2))
    every = run.sample(4, sampler=ddim)
    assert torch.equal(run.sample(labels=[0, 1, 2, 3], sampler=ddim), every)
    assert torch.equal(run.sample(labels=torch.tensor([0, 1, 2, 3]), sampler=ddim), every)
    assert torch.equal(run.sample(4, labels=3, sampler=ddim)[3], every[3])
    assert not torch.equal(run.sample(4, labels=3, sampler=ddim)[0], every[0])


def test_labels_by_name(run, monkeypatch):
    names = [f"digit {i}" for i in range(10)]
    monkeypatch.setattr(type(run.directory), "classes", names)
    ddim = DDIM(Trailing(2))
    assert torch.equal(run.sample(labels=["digit 7", 2], sampler=ddim), run.sample(labels=[7, 2], sampler=ddim))
    with pytest.raises(UserError, match=r"label=digit 77 is not one of the 10 classes of run=.*did you mean digit 7\?"):
        run.sample(labels="digit 77")
    assert "10 classes: digit 0, digit 1, digit 2, digit 3, digit 4, ..." in repr(run)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"labels": 10}, "label=10: this run has the classes 0 to 9"),
        ({"labels": [0, -1]}, "label=-1: this run has the classes 0 to 9"),
        ({"labels": "cat"}, "label=cat: this run has the classes 0 to 9"),
        ({"labels": []}, "labels: 0 of them for no images"),
        ({"labels": [1, 2], "num_images": 3}, "labels: 2 of them for 3 images: give one for each, or one for all"),
        ({"num_images": 0}, "num_images=0 must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(run, arguments, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        run.sample(**arguments)


def test_an_unconditional_run(plain, monkeypatch):
    monkeypatch.chdir(plain)
    run = inkwash.load_run("latest")
    assert run.sample(2).shape == (2, 1, 8, 8)
    assert "no classes" in repr(run)
    with pytest.raises(UserError, match="^guidance needs class labels: "):
        run.sample(2, guidance=2.0)
    with pytest.raises(UserError, match="^labels: this run was trained without classes"):
        run.sample(2, labels=1)


def test_names_and_places(plain, monkeypatch):
    monkeypatch.chdir(plain)
    paths = [
        inkwash.load_run(name).directory.path.resolve()
        for name in ("plain", "latest", "runs/plain", plain / "runs/plain")
    ]
    assert {*paths} == {(plain / "runs" / "plain").resolve()}
    with pytest.raises(UserError, match="^run=nope is not a run directory: neither nope nor runs/nope holds one"):
        inkwash.load_run("nope")
    with pytest.raises(
        UserError, match="step-9.ckpt does not exist; runs/plain has best.ckpt, last.ckpt, step-00000001.ckpt"
    ):
        inkwash.load_run("plain", checkpoint="step-9.ckpt")


def test_the_former_order_still_works_and_says_what_to_type(run):
    ddim = DDIM(Trailing(2))
    with pytest.warns(DeprecationWarning, match=r"is run.sample\(num_images, sampler=sampler\) now"):
        before = run.sample(ddim, num_images=3)
    with pytest.warns(DeprecationWarning, match="run.sample"):
        assert torch.equal(run.sample(ddim, 3, 1.0, 0), before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(run.sample(3, sampler=ddim, guidance=1.0), before)


def test_metrics_are_the_rows_that_were_logged(run):
    assert [row["step"] for row in run.metrics] == [0, 1, 2, 3, 4, 5, 6]
    assert run.metrics[3]["metrics/fd_classifier_16"] == pytest.approx(87.0348411)
    assert "train/loss" not in run.metrics[0]
    losses, *panels = run.plot().axes
    assert {"fd_classifier_16", "accuracy_classifier_16"} <= {panel.get_title() for panel in panels}
    assert len(losses.lines) == 2


def test_a_trajectory_ends_with_the_images_of_sample(run):
    ddim = DDIM(Trailing(6))
    way = run.trajectory(3, labels=[5, 6, 7], sampler=ddim)
    assert torch.equal(way.x_t[-1], run.sample(labels=[5, 6, 7], sampler=ddim))
    assert len(way.times) == len(way.x_0) == 7
    assert way.times == sorted(way.times, reverse=True)


def test_a_trajectory_has_an_image_for_each_label_or_four(run):
    ddim = DDIM(Trailing(2))
    way = run.trajectory(labels=[3, 7], sampler=ddim)
    assert torch.equal(way.x_t[-1], run.sample(labels=[3, 7], sampler=ddim))
    assert torch.equal(run.trajectory(labels=3, sampler=ddim).x_t[-1], run.sample(4, labels=3, sampler=ddim))
    assert torch.equal(run.trajectory(sampler=ddim).x_t[-1], run.sample(4, sampler=ddim))
    for refused in ({"num_images": 3, "labels": [3, 7]}, {"num_images": 0}):
        with pytest.raises(UserError):
            run.trajectory(**refused)


@pytest.mark.parametrize("name", ["default", "edm", "hybrid"])
def test_it_says_what_it_is_in_ten_lines(name):
    lines = repr(load_run(GOLDEN / name)).splitlines()
    assert 5 <= len(lines) <= 10
    assert max(map(len, lines)) < 120
    assert lines[0].endswith("step 6, ema weights of last.ckpt")
    assert any("real images" in line for line in lines)

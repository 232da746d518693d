"""From a folder of images to samples by a class's name: the report of a data set, and the names of its classes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from inkwash.commands.data import FILES
from inkwash.runs.directory import RunDirectory
from support.in_process import Commands

TRAIN = (
    "debug=fast", "logger=csv", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "model.channels=8",
    "data.batch_size=16", "~callbacks.evaluation", "callbacks.samples.columns=4", "callbacks.samples.num_images=8",
)  # fmt: skip
DATA = ("data=folder", "data.path=animals", "data.shape=[3,8,8]", "data.num_classes=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with animals/{train,val}/{cat,dog}, and commands that run there."""
    place = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for name in ("cat", "dog"):
            folder = place / "animals" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    (place / "animals/train/readme.txt").write_text("hello")
    return place


@pytest.fixture(scope="module")
def commands(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INKWASH_DATA", str(place / "cache"))
        yield Commands(place)


@pytest.fixture(scope="module")
def trained(commands, place):
    ended = commands("train", *TRAIN, *DATA, "run=a")
    assert ended.code == 0, ended.text
    return RunDirectory(place / "runs/a"), ended.text


REPORT = [
    "train    24 images from {path}/train",
    "         8 x 8 pixels, levels 0 to 255",
    "heldout  10 images from {path}/val",
    "         8 x 8 pixels, levels 0 to 255",
    "classes  2: cat 12, dog 12",
    "not used 1 not images (readme.txt)",
]


def test_data_are_described_without_training(commands, place):
    ended = commands("data", *DATA, "out=seen")
    assert ended.text.splitlines()[:6] == [line.format(path=place / "animals") for line in REPORT]
    assert {path.name for path in (place / "seen").iterdir()} == {"data.yaml", *FILES}
    report = json.loads((place / "seen/report.json").read_text())
    assert (report["classes"], report["train"]["counts"], report["suspicious"]) == (["cat", "dog"], [12, 12], [])
    sheet = np.array(Image.open(place / "seen/grid.png"))
    # A column of 8 images for each class, 8 times enlarged, below 16 pixels of names.
    assert sheet.shape == (16 + 8 * 66 + 2, 2 * 66 + 2, 3)
    cats = {np.array(Image.open(file)).tobytes() for file in (place / "animals/train/cat").glob("*.png")}
    column = [sheet[18 + 66 * row : 82 + 66 * row : 8, 2:66:8].tobytes() for row in range(8)]
    assert len(set(column)) == 8
    assert set(column) <= cats


def test_a_training_logs_and_keeps_the_report(trained, place):
    run, text = trained
    logged = [line.removeprefix("data         ") for line in text.splitlines() if line.startswith("data  ")]
    assert logged == [line.format(path=place / "animals") for line in REPORT]
    assert run.data_report == logged
    assert run.classes == ["cat", "dog"]


def test_a_grid_of_a_training_names_its_classes(trained):
    grids = sorted(trained[0].samples.glob("step-*.png"))
    assert np.array(Image.open(grids[-1])).shape[0] == 16 + 2 * 66 + 2


def test_a_class_is_sampled_by_its_name(commands, trained):
    draw = ("sample", "run=a", "spacing.steps=2", "num_images=3", "trainer.threads=1")
    for out, label in (("named", "dog"), ("numbered", "1"), ("other", "cat")):
        assert commands(*draw, f"out={out}", f"label={label}").code == 0
    images = {
        out: [(commands.place / out / f"images/{i:06d}.png").read_bytes() for i in range(3)]
        for out in ("named", "numbered", "other")
    }
    assert images["named"] == images["numbered"] != images["other"]
    assert "did you mean dog?" in commands(*draw, "label=dgo").error


FOUND = [
    "data.num_classes=2: cat, dog; data.num_classes=null trains without classes",
    "data.shape=[3,8,8]: the 34 images looked at are 8 x 8 pixels (height x width), colour; data.shape=... for another",
]


def test_a_path_alone_is_enough(commands, place):
    """And what was found stays the run's own, whatever is added to the folder."""
    ended = commands("train", *TRAIN, *DATA[:2], "run=alone")
    assert ended.code == 0, ended.text
    assert ended.text.splitlines()[:2] == FOUND
    run = RunDirectory(place / "runs/alone")
    data = run.config["data"]
    assert (data["shape"], data["num_classes"], run.config["model"]["num_classes"]) == ([3, 8, 8], 2, 2)
    owl = place / "animals/train/owl/0.png"
    owl.parent.mkdir()
    owl.write_bytes((place / "animals/train/cat/0.png").read_bytes())
    again = commands("train", *TRAIN, *DATA[:2], "run=alone", "trainer.max_steps=5")
    shutil.rmtree(owl.parent)
    assert "labels go up to 2" in again.error  # no network for two classes can learn three
    ended = commands("train", *TRAIN, *DATA[:2], "run=alone", "trainer.max_steps=5")
    assert ended.code == 0, ended.text
    assert "data.num_classes" not in ended.text
    assert run.summary["steps"] == 5


def test_data_are_described_by_their_path_alone(commands):
    assert commands("data", *DATA[:2], "out=by_path").text.splitlines()[:2] == FOUND


def test_a_start_that_fails_leaves_nothing(commands, place):
    before = sorted((place / "runs").iterdir())
    for wrong in ("data.num_classes=3", "data.path=nowhere", "data.shape=[1,8,8]", "data.shape=[3,7,7]"):
        assert commands("train", *TRAIN, *DATA[:2], "data.shape=[3,8,8]", wrong).error
    assert sorted((place / "runs").iterdir()) == before


def test_a_shape_without_a_value_is_suggested(commands):
    """In a YAML of one's own."""
    assert commands("train", *DATA[:2], "data.shape=???").error == (
        "error: data.shape has no value yet: the 34 images looked at are 8 x 8 pixels (height x width), colour: pass "
        "data.shape=[3,8,8]"
    )


def test_channels_come_first(commands):
    for command in ("train", "data"):
        assert commands(command, *DATA[:2], "data.shape=[64,48,3]").error == (
            "error: data.shape=[64, 48, 3] is [channels, height, width]: channels come first, data.shape=[3, 64, 48]"
        )

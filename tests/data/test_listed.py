"""Folders of images with a file that lists their labels."""

import json
import os

import pytest
from PIL import Image

from inkwash.data.folder import Folder
from inkwash.errors import UserError

SHAPE = (1, 4, 4)


@pytest.fixture
def write(tmp_path):
    """Write images of one level, {name: level}, and other files, {name: text}, to a folder; return it."""

    def write(images, texts=()):
        for name, level in images.items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), level).save(tmp_path / "set" / name)
        for name, text in dict(texts).items():
            (tmp_path / "set" / name).write_text(text, "utf-8")
        return tmp_path / "set"

    return write


@pytest.fixture
def load(tmp_path):
    """Load a split: {level: class}, the name of the class if it has one, and the facts."""

    def load(path, split="train", **options):
        options = {"heldout_fraction": 0} | options
        found = Folder(cache_dir=str(tmp_path / "cache"), **options).load(split, SHAPE, str(path))
        names = found.facts.classes.names
        labels = [names[label] if names and label >= 0 else label for label in found.labels.tolist()]
        return dict(zip(found.images[:, 0, 0, 0].tolist(), labels, strict=True)), found.facts

    return load


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\n0.png,dog\nb/1.png,cat\n"),
        ("metadata.csv", '\ufefffile_name;Category;text\n"0.png";dog;"a; b"\n"b/1.png";cat;x\n'),
        ("metadata.csv", 'file_name, label, text\r\n0.png, dog, "a, b"\r\nb/1.png, cat, x\r\n'),
        ("metadata.csv", "label ;file_name\ndog;0.png\ncat;b/1.png\n"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": "dog"}\n\n{"label": "cat", "file_name": "./b/1.png"}\n'),
        ("metadata.jsonl", '{"file_name": "0.png", "y": "dog","x": "\u2028"}\n{"y": "cat", "file_name": "b\\\\1.png"}'),
    ],
)  # fmt: skip
def test_the_metadata_of_image_folders_have_the_labels(write, load, name, text):
    """huggingface/datasets#4069 and #4814: image folders have their labels in metadata.csv or metadata.jsonl."""
    labels, facts = load(write({"0.png": 10, "b/1.png": 20, "b/2.png": 30}, {name: text}))
    assert labels == {10: "dog", 20: "cat", 30: -1}
    assert (facts.classes.names, facts.passed_over, facts.suspicious) == (("cat", "dog"), {}, ())


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ("2", "0", [2, 0]), ("2.0", "", [2, -1]), ("-1", "7", [-1, 7]), ("1", "a", ["1", "a"]), ("x", "", ["x", -1]),
    ],
)  # fmt: skip
def test_labels_of_a_table_are_numbers_or_names(write, load, first, second, labels):
    path = write({"0.png": 10, "1.png": 20}, {"metadata.csv": f"file_name,label\n0.png,{first}\n1.png,{second}\n"})
    assert [*load(path)[0].values()] == labels


@pytest.mark.parametrize(("value", "label"), [("3", 3), ("3.0", 3), ("null", -1), ("true", "true"), ('"a"', "a")])
def test_labels_of_json_are_numbers_or_names(write, load, value, label):
    path = write({"0.png": 10}, {"metadata.jsonl": f'{{"file_name": "0.png", "label": {value}}}'})
    assert load(path)[0] == {10: label}


def test_metadata_beside_or_in_the_folders_of_splits(write, load):
    images = {"train/0.png": 10, "train/1.png": 20, "test/0.png": 30}
    path = write(images, {"metadata.csv": "file_name,label\ntrain/0.png,b\ntrain/1.png,a\ntest/0.png,b\n"})
    assert (load(path)[0], load(path, "heldout")[0]) == ({10: "b", 20: "a"}, {30: "b"})
    (path / "metadata.csv").rename(path / "captions.csv")
    for split, text in (("train", "0.png,d\n1.png,c\n"), ("test", "0.png,d\n")):
        (path / split / "metadata.csv").write_text(f"file_name,label\n{text}")
    assert (load(path)[0], load(path, "heldout")[0]) == ({10: "d", 20: "c"}, {30: "d"})


def test_metadata_without_labels_leave_the_folders_as_classes(write, load):
    texts = {"metadata.csv": "file_name,text\na/0.png,a drawing\n", "metadata.jsonl": '{"photographer": "x"}'}
    labels, facts = load(write({"a/0.png": 10, "b/0.png": 20}, texts))
    assert labels == {10: "a", 20: "b"}
    assert facts.passed_over["not images"].count == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", 'file_name,label\n"0.png,dog\n', "is not a table with a column file_name"),
        ("metadata.jsonl", '{"file_name": "0.png"', "is not a table with a column file_name"),
        ("metadata.jsonl", '["file_name"]', "is not a table with a column file_name"),
        ("metadata.jsonl", '{"file_name": "0.png"}\n{"label": 1}', "is not a table with a column file_name"),
        ("metadata.csv", "file_name,fine_label,coarse_label\n0.png,1,2", "several columns of labels, fine_label and"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": [1, 2]}', r"the label of 0\.png is \[1, 2\], neither"),
        ("metadata.csv", "file_name,label\nx.png,1", r"lists 1 files, none of which is in .* there is 0\.png"),
    ],
)  # fmt: skip
def test_useless_metadata_are_named(write, load, name, text, message):
    with pytest.raises(UserError, match=rf"{name}.*{message}"):
        load(write({"0.png": 10}, {name: text}))


def test_a_list_of_the_training_images_alone_leaves_the_others_without_labels(write, load):
    images = {"train/0.png": 10, "train/1.png": 20, "test/0.png": 30}
    listed = {"labels": [["train/0.png", 1], ["train/1.png", 0]]}
    path = write(images, {"dataset.json": json.dumps(listed)})
    assert load(path)[0] == {10: 1, 20: 0}
    labels, facts = load(path, "heldout")
    assert labels == {30: -1}
    assert facts.suspicious == (f"{path}/dataset.json lists no file of test: its images have no label",)


@pytest.mark.parametrize("text", ["id,label\n0,cat\n1,dog\n", "image\tlabel\n0.png\tcat\n", '{"img": "1.png"}\n'])
def test_a_table_that_names_the_images_is_told(write, load, text):
    """Sets of Kaggle have train.csv with id and label beside the images."""
    table = "labels.jsonl" if text.startswith("{") else "train.csv"
    (sentence,) = load(write({"0.png": 10, "1.png": 20}, {table: text}))[1].suspicious
    assert sentence.startswith(f"{write({})}/{table} names the images, and is not read: if it has the labels, call it")


def test_other_tables_raise_no_suspicion(write, load):
    assert load(write({"img-0.png": 10}, {"log.csv": "step,loss\n0,1\n"}))[1].suspicious == ()


def test_a_table_beside_folders_that_are_classes_raises_no_suspicion(write, load):
    path = write({"a/0.png": 10, "b/1.png": 20}, {"list.csv": "name\n0.png\n"})
    assert load(path)[1].suspicious == ()


def test_a_folder_without_images_beside_classes_is_told(write, load):
    """huggingface/pytorch-image-models#957: an empty folder of a class shifted the labels of those after it."""
    path = write({"a/0.png": 10, "c/0.png": 20})
    (path / "b").mkdir()
    labels, facts = load(path)
    assert labels == {10: "a", 20: "c"}
    assert facts.suspicious[0].startswith(f"b in {path} has no images: the other folders are numbered as classes")


def test_hard_links_in_both_splits_are_refused(write, load):
    path = write({f"train/{i}.png": i for i in range(4)} | {"test/9.png": 9})
    os.link(path / "train/2.png", path / "test/2.png")
    with pytest.raises(UserError, match=r"^1 images are in both splits by links, .*train/2\.png and .*test/2\.png"):
        load(path)

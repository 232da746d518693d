"""data.shape, data.num_classes and data.source.resize are found in the images, without torch."""

import io
import json
import subprocess
import sys
import tarfile
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from inkwash.commands import train
from inkwash.commands.auto_data import MOST, classes_in, find
from inkwash.commands.auto_keys import with_stand_ins
from inkwash.config.paths import config_dir
from inkwash.data.labels import Classes
from inkwash.errors import UserError

assert train  # its import registers the schema
SOURCES = ("folder", "parquet", "parquet_stream", "webdataset")


@cache
def composed_for(data):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose("train", [f"data={data}"])


def configuration(data, path, **given):
    """The configuration of `inkwash train data=DATA data.path=PATH data.KEY=VALUE` as it is composed."""
    config = composed_for(data).copy()
    for key, value in {"path": str(path), **given}.items():
        OmegaConf.update(config, f"data.{key}", value, merge=False)
    return config


def found(data, path, known=None, **given):
    """What `find` makes of it: (shape, number of classes, the source's arguments), and what it says."""
    config = configuration(data, path, **given)
    said = find(config, known)
    plain = OmegaConf.to_container(config.data)
    return (plain["shape"], plain["num_classes"], plain["source"]), said


@pytest.fixture
def images():
    """images(n, (height, width), ...): n PNG files in memory, of these sizes in turn."""

    def make(n, *sizes):
        draw, files = np.random.default_rng(0), []
        for i in range(n):
            file = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8)).save(file, "PNG")
            files.append(file.getvalue())
        return files

    return make


@pytest.fixture
def write(tmp_path):
    """write(data, images, labels): a data set of a kind; labels are numbers, None for none. Returns its path."""

    def make(data, images, labels):
        if data == "folder":
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                file = tmp_path / "set" / ("" if label is None else f"class {label}") / f"{i:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(image)
            return tmp_path / "set"
        if data.startswith("parquet"):
            table = {"image": images} | ({} if labels[0] is None else {"label": labels})
            pq.write_table(pa.table(table), tmp_path / "set.parquet", row_group_size=10)
            return tmp_path / "set.parquet"
        with tarfile.open(tmp_path / "set.tar", "w") as tar:
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                for suffix, content in (("png", image), *([] if label is None else [("cls", str(label).encode())])):
                    member = tarfile.TarInfo(f"{i:03}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        return tmp_path / "set.tar"

    return make


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("data", SOURCES)
def test_a_path_alone_is_enough(data, write, images):
    path = write(data, images(30, (70, 90), (80, 66)), [i % 3 for i in range(30)])
    (shape, number, source), said = found(data, path)
    assert (shape, number, source["resize"]) == ([3, 64, 64], 3, True)
    names = "class 0, class 1, class 2" if data == "folder" else "the labels go up to 2"
    assert said == [
        f"data.num_classes=3: {names}; data.num_classes=null trains without classes",
        "data.shape=[3,64,64]: the 30 images looked at are 80 x 66 to 70 x 90 pixels (height x width), colour, "
        "scaled and cropped; data.shape=... for another",
    ]


def test_the_network_follows(write, images):
    config = configuration("folder", write("folder", images(30, (70, 90)), [i % 3 for i in range(30)]))
    find(config)
    assert (config.model.shape, config.model.num_classes) == ([3, 64, 64], 3)


@pytest.mark.parametrize("data", SOURCES)
def test_small_images_of_one_size_stay_as_they_are_and_may_have_no_labels(data, write, images):
    path = write(data, images(12, (24, 16)), [None] * 12)
    (shape, number, source), said = found(data, path)
    assert (shape, number, source["resize"]) == ([3, 24, 16], None, data == "folder")
    assert len(said) == 1
    assert said[0].endswith("24 x 16 pixels (height x width), colour; data.shape=... for another")
    if data.startswith("parquet"):
        assert source["label_column"] is None  # the column that is looked for by default
        with pytest.raises(UserError, match="label_column=label is not a column of numbers or names"):
            found(data, path, num_classes=3)


def test_a_side_is_enough(write, images):
    path = write("folder", images(3, (70, 90)), [None] * 3)
    (shape, _, _), said = found("folder", path, shape=32)
    assert shape == [3, 32, 32]
    assert "70 x 90 pixels (height x width), colour, scaled and cropped" in said[0]


def test_a_given_shape_asks_for_exact_sizes_as_before(write, images):
    path = write("parquet", images(6, (70, 90)), [0, 1] * 3)
    (shape, number, source), said = found("parquet", path, shape=[3, 64, 64])
    assert (shape, number, source["resize"]) == ([3, 64, 64], 2, False)
    assert len(said) == 1


@pytest.mark.parametrize("data", SOURCES)
@pytest.mark.parametrize("number", [2, 4])
def test_a_number_that_contradicts_the_labels_is_refused(data, number, write, images):
    path = write(data, images(12, (8, 8)), [i % 3 for i in range(12)])
    if number == 4 and data != "folder":  # numbers: a part of a set may lack the last classes
        assert found(data, path, num_classes=4)[0][1] == 4
        return
    with pytest.raises(UserError, match=rf"data.num_classes={number}, but .*: set data.num_classes=3, or null"):
        found(data, path, num_classes=number)


def test_names_in_the_metadata_of_hugging_face_count(write, images, tmp_path):
    path = write("parquet", images(12, (8, 8)), [0, 1] * 6)
    table = pq.read_table(path)
    features = {"info": {"features": {"label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    (_, number, _), said = found("parquet", path)
    assert number == 3
    assert said[0].startswith("data.num_classes=3: cat, dog, owl;")
    with pytest.raises(UserError, match="data.num_classes=5, but there are 3 classes, cat, dog, owl: set"):
        found("parquet", path, num_classes=5)


@pytest.mark.parametrize("data", SOURCES[1:])
def test_labels_of_a_regression_are_no_classes(data, write, images):
    path = write(data, images(12, (8, 8)), [0.25 + i for i in range(12)])
    (_, number, source), said = found(data, path)
    assert number is None
    assert source["label" if data == "webdataset" else "label_column"] is None
    assert said[0].startswith("data.num_classes=null, trained without classes: the ")
    with pytest.raises(UserError):
        found(data, path, num_classes=12)


@pytest.mark.parametrize(
    ("labels", "names", "number", "reason"),
    [
        ([0, 1, 1, 2], (), 3, ""),
        ([1, 3, 3, 1], (), 4, ""),
        ([0, 1, 1, 0], ("a", "b", "c"), 3, ""),
        ([-1, -1], (), None, ""),
        ([], (), None, ""),
        ([1, 1, 1], ("a", "b"), None, "all labels are the same, b"),
        ([0, 1, -1, 1], (), None, "1 of 4 images have no label"),
        ([3, 0, 1, 2], (), None, "each of the 4 images has a label of its own"),
        ([0, 1, 1], ("0.5", "1"), None, "they are numbers that are not whole, 0.5 for example"),
        ([0, 1, 1], ("0.5", "half"), 2, ""),
        ([0, 0, MOST], (), None, "2 different labels, which go up to 10,000, are too many to be classes"),
        ([0, 0, MOST - 1], (), MOST, ""),
    ],
)
def test_what_counts_as_classes(labels, names, number, reason):
    assert classes_in(np.array(labels, dtype=np.int64), Classes(names)) == (number, reason)


def test_the_values_of_a_run_that_goes_on_count(write, images):
    path = write("parquet", images(30, (70, 90), (80, 66)), [i % 3 for i in range(30)])
    known = {"shape": [3, 16, 16], "num_classes": None, "source": {"resize": True, "label_column": None}}
    (shape, number, source), said = found("parquet", path, known)
    assert (shape, number, source["resize"], source["label_column"], said) == ([3, 16, 16], None, True, None, [])
    (shape, *_), said = found("parquet", path, known, shape=16)  # as it was typed for the first start
    assert (shape, said) == ([3, 16, 16], [])
    (shape, number, source), _ = found("parquet", path, known, shape=32, num_classes=5)
    assert (shape, number, source["resize"]) == ([3, 32, 32], 5, True)  # resuming refuses what was asked for


def test_mistakes_are_those_of_the_source(tmp_path):
    with pytest.raises(UserError, match=r"data.path=.*nowhere is not a folder"):
        found("folder", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data.path=.*nowhere finds no file"):
        found("parquet", tmp_path / "nowhere")


def test_what_is_not_auto_is_left_alone(tmp_path):
    config = configuration("folder", tmp_path, shape=[3, 8, 8], num_classes=None)
    assert with_stand_ins(config) is config


@pytest.mark.slow
def test_nothing_imports_torch(write, images):
    paths = {data: str(write(data, images(12, (24, 16)), [0, 1] * 6)) for data in SOURCES}
    code = f"""
import sys
from hydra import compose, initialize_config_dir
from inkwash.commands import train
from inkwash.commands import train
from inkwash.commands.auto_data import find
from inkwash.config.paths import config_dir
for data, path in {paths!r}.items():
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose("train", [f"data={{data}}", f"data.path={{path}}"])
    find(config)
    print(config.data.num_classes, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line[0].isdigit()] == ["2 False"] * len(SOURCES)


@pytest.mark.parametrize("data", ["parquet", "parquet_stream", "hf"])
def test_the_shape_is_that_of_the_column_that_is_named(tmp_path, images, data):
    table = {"image": images(4, (12, 12)), "thumb": images(4, (8, 8)), "label": [0, 1, 0, 1]}
    pq.write_table(pa.table(table), tmp_path / "0.parquet")
    (shape, _, source), _ = found(data, tmp_path, **{"source.image_column": "image"})
    assert (shape, source["resize"]) == ([3, 12, 12], False)

"""Data sets of Hugging Face: what `datasets` writes by save_to_disk, and names on the hub without a network."""

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from inkwash.data.arrow_files import ArrowFile
from inkwash.data.columns import bytes_of, names_files
from inkwash.data.hf import HuggingFace
from inkwash.data.peek import look
from inkwash.errors import UserError
from support.runs import environment

SHAPE = (3, 6, 5)


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    """The package, with its caches in a temporary folder."""
    package = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-cache")
    package.disable_progress_bars()
    return package


@pytest.fixture
def source(tmp_path):
    return lambda **kwargs: HuggingFace(cache_dir=str(tmp_path / "cache"), **kwargs)


def rows(datasets, pixels, labels, names=("cat", "dog", "owl"), paths=None):
    """A Dataset of a column of images, of PIL or of paths, and one of ClassLabel."""
    images = paths or [Image.fromarray(image) for image in pixels]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[*names])})
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def seen(split):
    """The images of a split, whatever their order, and their labels."""
    images, labels = split.__getitems__(list(range(len(split))))
    return sorted((image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def wanted(pixels, labels):
    return sorted((image.transpose(2, 0, 1).tobytes(), label) for image, label in zip(pixels, labels, strict=True))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_dataset_of_save_to_disk(datasets, source, noise, tmp_path, streaming, shards):
    pixels, labels = noise(20, *SHAPE[1:], 3), [i % 3 for i in range(20)]
    rows(datasets, pixels, labels).save_to_disk(tmp_path / "set", num_shards=shards)
    reader, path = source(streaming=streaming, heldout_fraction=0.2), str(tmp_path / "set")
    train, heldout = (reader.load(split, SHAPE, path) for split in ("train", "heldout"))
    assert (len(train), len(heldout)) == (16, 4)
    assert sorted(seen(train) + seen(heldout)) == wanted(pixels, labels)
    assert train.facts.classes.names == ("cat", "dog", "owl")
    found, classes = reader.labels(path)
    assert (found.tolist(), classes.names) == (labels, ("cat", "dog", "owl"))
    assert look(reader.place(path)).shape() == [3, 4, 4]


def test_splits_of_a_datasetdict_by_their_names(datasets, source, noise, tmp_path):
    pixels, labels = noise(12, *SHAPE[1:], 3), [i % 3 for i in range(12)]
    parts = {"train": slice(0, 6), "test": slice(6, 9), "validation": slice(9, 12)}
    sets = {name: rows(datasets, pixels[part], labels[part]) for name, part in parts.items()}
    datasets.DatasetDict(sets).save_to_disk(tmp_path / "set")
    for split, name in (("train", "train"), ("heldout", "validation")):
        loaded = source().load(split, SHAPE, str(tmp_path / "set"))
        assert seen(loaded) == wanted(pixels[parts[name]], labels[parts[name]])


def test_images_by_path_and_what_map_leaves_beside(datasets, source, noise, tmp_path):
    pixels, labels = noise(8, *SHAPE[1:], 3), [i % 2 for i in range(8)]
    paths = [str(tmp_path / f"{i}.png") for i in range(8)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    rows(datasets, None, labels, paths=paths).save_to_disk(tmp_path / "set")
    again = datasets.load_from_disk(str(tmp_path / "set"))
    again.map(lambda row: {"label": 0}, load_from_cache_file=False)  # writes cache-*.arrow into the folder
    assert list((tmp_path / "set").glob("cache-*.arrow"))
    assert seen(source(heldout_fraction=0).load("train", SHAPE, str(tmp_path / "set"))) == wanted(pixels, labels)


def test_what_the_hub_gives_becomes_a_folder_once(datasets, source, noise, write_parquet, tmp_path, monkeypatch):
    """A folder of Parquet files stands for the hub: load_dataset takes both."""
    pixels, labels = noise(10, *SHAPE[1:], 3), [i % 2 for i in range(10)]
    (tmp_path / "hub").mkdir()
    write_parquet(tmp_path / "hub" / "train.parquet", pixels, labels)
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name, *args, **kwargs: load(str(tmp_path / "hub")))
    monkeypatch.setattr("inkwash.data.hf.reachable", lambda server: True)
    loaded = source(heldout_fraction=0).load("train", SHAPE, "someone/something")
    assert seen(loaded) == wanted(pixels, labels)
    monkeypatch.setattr(datasets, "load_dataset", None)  # calling it would fail
    assert len(source(heldout_fraction=0).load("train", SHAPE, "someone/something")) == 10


WITHOUT_A_NETWORK = """
import sys, time
from inkwash.data.hf import HuggingFace
from inkwash.errors import UserError
start = time.monotonic()
try:
    HuggingFace(cache_dir="cache").labels("someone/something")
except UserError as error:
    print(time.monotonic() - start, "torch" in sys.modules, error, sep="|")
"""


def test_without_a_network_a_name_ends_in_a_sentence_at_once(datasets, tmp_path):
    """In a process of its own: `datasets` asks once, when it is imported, whether it is offline."""
    command = [sys.executable, "-c", WITHOUT_A_NETWORK]
    variables = environment(HF_ENDPOINT="https://hub.invalid", HF_HOME=str(tmp_path / "home"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=variables)
    seconds, torch_is_there, sentence = done.stdout.strip().split("|")
    assert sentence.startswith("data.path=someone/something is no file or folder here, and as the name of a data set")
    assert "https://hub.invalid cannot be reached" in sentence
    assert float(seconds) < 30  # retries took minutes
    assert torch_is_there == "False"
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and any(path.iterdir())]


def test_without_the_package_only_names_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("inkwash.data.hf.reachable", lambda server: True)
    with pytest.raises(UserError, match="needs the package datasets: pip install datasets"):
        source().load("train", SHAPE, "someone/something")
    with pytest.raises(UserError, match=r"data\.path=.*/nowhere/at/all finds no file"):
        source().load("train", SHAPE, "nowhere/at/all")


# --- Arrow files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def arrow(tmp_path, noise, encode):
    """An Arrow file of 10 images in batches of 4, as `datasets` writes it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({
        "image": pa.array([{"bytes": encode(image), "path": None} for image in noise(10, 6, 5, 3)], kind),
        "split": ["test"] * 4 + ["train"] * 6,
    })  # fmt: skip
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return tmp_path / "a.arrow", table


def test_an_arrow_file_has_what_a_parquet_file_has(arrow):
    path, table = arrow
    file = ArrowFile(path)
    metadata = file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert (metadata.num_rows, [group.num_rows for group in groups]) == (10, [4, 4, 2])
    assert file.read(["split"]).equals(table.select(["split"]))
    assert [batch.num_rows for batch in file.iter_batches(3, [1], ["image"])] == [3, 1]
    total = sum(len(value["bytes"]) for value in table["image"].to_pylist())
    assert total < sum(bytes_of(group, "image") for group in groups) < total + 400
    assert not names_files(file, "image")
    last = groups[1].column(groups[1].num_columns - 1)
    assert (last.path_in_schema, last.statistics.min, last.statistics.max) == ("split", "train", "train")
    file.close()


def test_splits_told_by_a_column_are_a_warning_here_too(arrow, source):
    facts = source(label_column=None).load("train", SHAPE, str(arrow[0])).facts
    assert any("rows are of several splits" in sentence for sentence in facts.suspicious)


@pytest.mark.parametrize("values", [[["test"], ["train"]] * 5, pa.array(["test", "train"] * 5).dictionary_encode()])
def test_a_column_of_any_type_may_be_called_split(arrow, source, values):
    """Lists have no order; categories have that of what they stand for."""
    path, table = arrow
    table = table.drop_columns("split").append_column("split", pa.array(values) if isinstance(values, list) else values)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    facts = source(label_column=None).load("train", SHAPE, str(path)).facts
    told = any("rows are of several splits" in sentence for sentence in facts.suspicious)
    assert told == (not isinstance(values, list))


def test_configurations_are_chosen_not_mixed(source, noise, write_parquet, tmp_path):
    """Two configurations of a set are made of the same images, and what one trains on the other may test with."""
    for config, count in (("full", 9), ("small", 3)):
        (tmp_path / "set" / config).mkdir(parents=True)
        for split in ("train", "test"):
            write_parquet(tmp_path / "set" / config / f"{split}-0.parquet", noise(count, 6, 5, 3))
    folder = str(tmp_path / "set")
    with pytest.raises(UserError, match=r"the configurations full, small, .* data\.source\.config=full, or take"):
        source(label_column=None).load("train", SHAPE, folder)
    assert len(source(label_column=None, config="small").load("train", SHAPE, folder)) == 3
    assert len(source(label_column=None, splits="none", heldout_fraction=0).load("train", SHAPE, folder)) == 24


@pytest.mark.parametrize("cut", [0, 5, 100, -200])
def test_a_damaged_arrow_file_is_named(arrow, source, cut):
    path, _ = arrow
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"a\.arrow cannot be read as an Arrow file"):
        source(label_column=None).load("train", SHAPE, str(path))


def test_the_order_of_a_stream_holds_every_image_once(arrow, source):
    split = source(streaming=True, label_column=None, heldout_fraction=0).load("train", SHAPE, str(arrow[0]))
    assert sorted(split.order(0, 0)) == list(range(10))
    images, _ = split.__getitems__([7, 2])
    pixels = [np.asarray(Image.open(io.BytesIO(arrow[1]["image"][i].as_py()["bytes"]))) for i in (7, 2)]
    assert torch.equal(images, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))

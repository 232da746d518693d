import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from inkwash.data.decode import decode
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.errors import UserError

SHAPE = (3, 6, 5)


@pytest.fixture
def parquet(tmp_path):
    """A Parquet source that caches below tmp_path."""
    return lambda **kwargs: Parquet(**{"cache_dir": str(tmp_path / "cache")} | kwargs)


def chw(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("column", ["image", "img"])
def test_a_training_and_a_test_file(noise, write_parquet, parquet, tmp_path, column):
    pixels = noise(12, 6, 5, 3)
    train = write_parquet(tmp_path / "train.parquet", pixels[:8], range(8), column)
    test = write_parquet(tmp_path / "test.parquet", pixels[8:], range(4), column)
    source = parquet(heldout_path=test)
    images, heldout = source.load("train", SHAPE, train), source.load("heldout", SHAPE, train)
    assert torch.equal(images.images, chw(pixels[:8]))
    assert torch.equal(heldout.images, chw(pixels[8:]))
    assert (images.labels.tolist(), images.labels.dtype) == (list(range(8)), torch.int64)


def test_without_a_test_file_a_fixed_part_is_held_out(noise, write_parquet, parquet, tmp_path):
    path = write_parquet(tmp_path / "all.parquet", noise(20, 6, 5, 3), range(20))
    splits = [parquet(heldout_fraction=0.25).load(split, SHAPE, path).labels.tolist() for split in ("train", "heldout")]
    assert [len(split) for split in splits] == [15, 5]
    assert sorted(splits[0] + splits[1]) == list(range(20))
    assert splits[1] != list(range(15, 20))  # files are often sorted by class


def test_shards_are_read_in_order_from_a_folder_or_a_glob(noise, write_parquet, parquet, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in (1, 0):
        labels = range(10 * shard, 10 * shard + 10)
        write_parquet(shards / f"train-{shard}.parquet", noise(10, 6, 5, 3), labels)
    for path in (shards, shards / "train-*.parquet"):
        labels = parquet(heldout_fraction=0).load("train", SHAPE, str(path)).labels
        assert labels.tolist() == list(range(20))


def test_labels_may_be_missing(noise, write_parquet, parquet, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3))
    assert set(parquet(label_column=None).load("train", SHAPE, path).labels.tolist()) == {-1}
    with pytest.raises(UserError, match=r"data\.source\.label_column=label .*null"):
        parquet().load("train", SHAPE, path)


def test_the_second_time_nothing_is_decoded(noise, write_parquet, parquet, tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))
    before = parquet().load("train", SHAPE, path)
    monkeypatch.setattr("inkwash.data.decoded.decode", None)  # calling it would fail
    after = parquet().load("train", SHAPE, path)
    assert torch.equal(before.images, after.images)
    assert before.fingerprint == after.fingerprint


def test_the_cache_notices_other_files_and_other_options(noise, write_parquet, parquet, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))
    before = parquet().load("train", SHAPE, path).fingerprint
    resized = [parquet(resize=True).load("train", shape, path).fingerprint for shape in ((3, 3, 3), (3, 2, 4))]
    assert len({before, *resized}) == 3
    assert len(parquet(heldout_fraction=0.5).load("train", SHAPE, path)) == 5
    write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))
    assert parquet().load("train", SHAPE, path).fingerprint != before


def test_a_stated_range_and_a_background_reach_the_pixels(write_parquet, parquet, encode, tmp_path):
    deep = encode(np.full((6, 5), 2048, np.uint16))
    path = write_parquet(tmp_path / "a.parquet", [deep] * 10, range(10))
    levels = [int(parquet(white=white).load("train", SHAPE, path).images.max()) for white in (None, 4095, 2048)]
    assert levels == [8, 128, 255]
    path = write_parquet(tmp_path / "b.parquet", [np.zeros((6, 5, 4), np.uint8)] * 10, range(10))
    for background, level in (("white", 255), ([7, 7, 7], 7)):
        assert int(parquet(background=background).load("train", SHAPE, path).images.min()) == level
    with pytest.raises(UserError, match=r"partly transparent: .* or add data\.source\.background=white"):
        parquet().load("train", SHAPE, path)


LOAD_SLOWLY = """
import sys, time
import inkwash.data.decoded as cache
from inkwash.data.decode import decode
from inkwash.data.parquet import Parquet
decode, decoded = cache.decode, []
def slow(source, *args):
    decoded.append(time.sleep(0.05))
    return decode(source, *args)
cache.decode = slow
print("ready", flush=True)
sys.stdin.readline()
images = Parquet(cache_dir=sys.argv[2]).load("train", (3, 6, 5), sys.argv[1])
print(len(decoded), len(images), images.fingerprint)
"""


@pytest.mark.slow
def test_of_two_processes_one_decodes_and_both_see_the_same(noise, write_parquet, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(20, 6, 5, 3), range(20))
    command = [sys.executable, "-c", LOAD_SLOWLY, path, str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [job.stdout.readline() for job in jobs] == ["ready\n"] * 2
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    (decoded, *seen), (decoded_too, *seen_too) = [job.communicate(timeout=60)[0].split() for job in jobs]
    assert {decoded, decoded_too} == {"0", "18"}
    assert seen == seen_too


def test_a_job_killed_while_decoding_leaves_no_half_cache(noise, write_parquet, parquet, tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))

    decoded = []

    def killed_at_the_fourth(source, *args):
        if len(decoded) == 3:
            raise KeyboardInterrupt
        decoded.append(source)
        return decode(source, *args)

    monkeypatch.setattr("inkwash.data.decoded.decode", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        parquet().load("train", SHAPE, path)
    monkeypatch.undo()
    assert len(parquet().load("train", SHAPE, path)) == 9


def test_corrupt_rows_are_named_or_skipped(noise, write_parquet, parquet, tmp_path):
    images = [*noise(8, 6, 5, 3), b"no image", None]
    path = write_parquet(tmp_path / "a.parquet", images, range(10))
    with pytest.raises(UserError, match=r"row 8 of .*a\.parquet cannot be read.*data\.source\.skip_corrupt=true"):
        parquet(heldout_fraction=0).load("train", SHAPE, path)
    kept = parquet(heldout_fraction=0, skip_corrupt=True).load("train", SHAPE, path)
    assert kept.labels.tolist() == list(range(8))
    assert torch.equal(kept.images, chw(np.stack(images[:8])))


def test_nothing_but_corrupt_rows_is_an_error(write_parquet, parquet, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [b"no image"] * 10, range(10))
    with pytest.raises(UserError, match="none of the 9 images can be read"):
        parquet(skip_corrupt=True).load("train", SHAPE, path)


@pytest.mark.parametrize(
    ("path", "kwargs", "message"),
    [
        (None, {}, r"data\.path is missing"),
        ("nowhere.parquet", {}, r"data\.path=.*nowhere\.parquet finds no file"),
        ("empty", {}, r"data\.path=.*empty finds no file"),
        ("text.parquet", {}, r"text\.parquet cannot be read as a Parquet file"),
        ("a.parquet", {"image_column": "label"}, r"data\.source\.image_column=label"),
        ("a.parquet", {"label_column": "image"}, r"data\.source\.label_column=image"),
        ("a.parquet", {"heldout_path": "nowhere"}, r"data\.source\.heldout_path=.*nowhere finds no file"),
        (
            "a.parquet",
            {"heldout_fraction": 1.0},
            r"data\.source\.heldout_fraction=1\.0 must be at least 0 and less than 1",
        ),
        ("a.parquet", {"cache_dir": "text.parquet/cache"}, r"data\.source\.cache_dir=.* cannot be written"),
    ],
)
def test_mistakes_are_named(noise, write_parquet, parquet, tmp_path, monkeypatch, path, kwargs, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("hello")
    write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))
    with pytest.raises(UserError, match=message):
        parquet(**kwargs).load("heldout", SHAPE, path)


def test_a_full_disk_is_foreseen(noise, write_parquet, parquet, tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", noise(10, 6, 5, 3), range(10))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"data\.source\.cache_dir=.* has 0\.0 GB left"):
        parquet().load("train", SHAPE, path)


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_a_clone_with_both_splits_trains_on_one(source, noise, write_parquet, tmp_path):
    # OpenRLHF#367: `huggingface-cli download` leaves train-* and test-* side by side.
    pixels = noise(12, 6, 5, 3)
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", pixels[:8], [0, 1] * 4)
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", pixels[8:], [2] * 4)
    read = source(cache_dir=str(tmp_path / "cache"))
    train, heldout = (read.load(split, SHAPE, str(tmp_path)) for split in ("train", "heldout"))
    assert torch.equal(train.__getitems__(list(range(8)))[0], chw(pixels[:8]))
    assert torch.equal(heldout.__getitems__(list(range(4)))[0], chw(pixels[8:]))
    assert (train.labels.tolist(), heldout.labels.tolist()) == ([0, 1] * 4, [2] * 4)
    assert train.facts.origin == f"{tmp_path}/data/train-00000-of-00001.parquet"


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_names_of_both_splits_have_one_numbering(source, noise, encode, tmp_path):
    for split, names in (("train", ["emu", "cat", None, "cat"]), ("test", ["dog", "cat"])):
        table = pa.table({"image": [encode(noise(6, 5, 3)) for _ in names], "kind": names})
        pq.write_table(table, tmp_path / f"{split}.parquet", row_group_size=2)
    read = source(cache_dir=str(tmp_path / "cache"), label_column="kind")
    train, heldout = (read.load(split, SHAPE, str(tmp_path)) for split in ("train", "heldout"))
    assert train.facts.classes.names == heldout.facts.classes.names == ("cat", "dog", "emu")
    assert (train.labels.tolist(), heldout.labels.tolist()) == ([2, 0, -1, 0], [1, 0])
    assert train.__getitems__([0, 1])[1].tolist() == [2, 0]


def test_the_cache_tells_one_draw_from_another(noise, write_parquet, parquet, tmp_path):
    """Drawn by class or not, as many rows are held out, but others: no image may be in both splits of a training."""
    labels = np.random.default_rng(0).choice(3, 200, p=[0.8, 0.15, 0.05])
    path = write_parquet(tmp_path / "a.parquet", noise(200, 6, 5, 3), labels)
    parquet(stratified=False).load("heldout", SHAPE, path)
    by_class = [parquet(stratified=True).load(split, SHAPE, path).images for split in ("train", "heldout")]
    assert len({image.numpy().tobytes() for images in by_class for image in images}) == 200


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_names_of_folders_tell_that_splits_are_mixed(source, noise, write_parquet, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        write_parquet(tmp_path / "d" / split / "0.parquet", noise(4, 6, 5, 3))
    read = source(cache_dir=str(tmp_path / "cache"), splits="none", label_column=None)
    facts = read.load("train", SHAPE, str(tmp_path / "d")).facts
    assert any("names in data.path tell test and train" in sentence for sentence in facts.suspicious)


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_each_class_is_held_out_in_proportion(source, noise, write_parquet, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(40, 6, 5, 3), [0] * 30 + [1] * 10, row_group_size=7)
    read = source(cache_dir=str(tmp_path / "cache"), heldout_fraction=0.2)
    assert torch.bincount(read.load("heldout", SHAPE, path).labels).tolist() == [6, 2]
    assert torch.bincount(read.load("train", SHAPE, path).labels).tolist() == [24, 8]


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
@pytest.mark.parametrize("names", [("label", "labels", "target"), ("target", "label", "y")])
def test_each_file_has_a_column_of_labels_of_its_own(source, names, noise, encode, tmp_path):
    for file, name in zip(("train-0", "train-1", "test"), names, strict=True):
        images = [encode(pixels) for pixels in noise(3, 6, 5, 3)]
        pq.write_table(pa.table({"image" if name != "y" else "img": images, name: [2, 0, 1]}), tmp_path / f"{file}.pq")
    read = source(cache_dir=str(tmp_path / "cache"))
    train, heldout = (read.load(split, SHAPE, str(tmp_path)) for split in ("train", "heldout"))
    assert (train.labels.tolist(), heldout.labels.tolist()) == ([2, 0, 1] * 2, [2, 0, 1])
    assert train.facts.classes.names == ()
    assert len(heldout.__getitems__([0, 1, 2])[0]) == 3


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_a_later_file_without_labels_is_named(source, noise, encode, tmp_path):
    for i, name in enumerate(("label", "size")):
        images = [encode(pixels) for pixels in noise(3, 6, 5, 3)]
        pq.write_table(pa.table({"image": images, name: [2, 0, 1]}), tmp_path / f"{i}.parquet")
    with pytest.raises(UserError, match=r"label_column=label is not a column of numbers or names in .*1\.parquet"):
        source(cache_dir=str(tmp_path / "cache")).load("train", SHAPE, str(tmp_path))


MIXED = r"test\.parquet has labels that are numbers, and .*train\.parquet has labels that are names, such as 1: .*null"


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
@pytest.mark.parametrize("splits", ["auto", "none"])
def test_numbers_in_one_file_and_names_in_another_are_refused(source, splits, noise, encode, tmp_path):
    images = [encode(pixels) for pixels in noise(5, 6, 5, 3)]

    def load(names, numbers):
        pq.write_table(pa.table({"image": images, "label": names}), tmp_path / "train.parquet")
        pq.write_table(pa.table({"image": images, "label": numbers}), tmp_path / "test.parquet")
        read = source(cache_dir=str(tmp_path / "cache"), splits=splits)
        return [read.load(split, SHAPE, str(tmp_path)).labels for split in ("train", "heldout")]

    with pytest.raises(UserError, match=MIXED):
        load(list("12345"), [1, 2, 3, 4, 5])
    for numbers in ([0, 1, 2, 3, 4], pa.array([None] * 5, pa.int64())):  # the same in words, and no labels at all
        assert len(load(list("01234"), numbers)[0])


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_folders_of_numbers_and_of_names_are_refused(source, noise, encode, tmp_path):
    for value in ("0", "1", "cat"):
        (folder := tmp_path / "set" / f"label={value}").mkdir(parents=True)
        pq.write_table(pa.table({"image": [encode(noise(6, 5, 3))] * 2}), folder / "0.parquet")
    with pytest.raises(UserError, match=r"label=0/0\.parquet has .* numbers, and .*label=cat/0\.parquet has .* names"):
        source(cache_dir=str(tmp_path / "cache")).load("train", SHAPE, str(tmp_path / "set"))


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("split", ["train", "test"], "rows are of several splits, split=test in {0} and split=train in {0}, but"),
        (
            "Subset",
            ["validation", "train"],
            "rows are of several splits, Subset=train in {0} and Subset=validation in {0}, b",
        ),
        ("split", ["train", "train"], None),
        ("split", ["left", "right"], None),
        ("split", [0, 1], None),
        ("purpose", ["train", "test"], None),
    ],
)
def test_a_column_that_tells_splits_is_told(source, column, values, told, tmp_path, noise, encode):
    """A table may have all rows in one file, and the split of each in a column."""
    images = [encode(pixels) for pixels in noise(8, 6, 5, 3)]
    pq.write_table(pa.table({"image": images, column: values * 4}), tmp_path / "a.parquet")
    read = source(label_column=None, cache_dir=str(tmp_path / "cache"))
    suspicious = read.load("train", SHAPE, str(tmp_path / "a.parquet")).facts.suspicious
    assert [text.startswith((told or "").format("a.parquet")) for text in suspicious] == [True] * (told is not None)
    read = source(label_column=None, cache_dir=str(tmp_path / "cache"), splits="none")
    assert read.load("train", SHAPE, str(tmp_path / "a.parquet")).facts.suspicious == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 cut short", r"as a Parquet file: give another one, or fetch it again$"),
        (b"PK\3\4", r"as a Parquet file: it is a zip file; unpack it"),
        (bytes(257) + b"ustar", r"as a Parquet file: it is a tar file; use data=webdataset for it"),
    ],
)
def test_a_file_of_another_kind_is_told(parquet, tmp_path, content, message):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=message):
        parquet().load("train", SHAPE, str(tmp_path / "a.parquet"))

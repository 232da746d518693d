import io
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.errors import UserError

SHAPE = (3, 6, 5)


@pytest.fixture
def stream(tmp_path):
    """stream(path): all images in it."""

    def load(path, **options):
        source = ParquetStream(cache_dir=str(tmp_path / "cache"), heldout_fraction=0, **options)
        return source.load("train", SHAPE, str(path))

    return load


def damage(path, begin, end):
    content = bytearray(Path(path).read_bytes())
    content[begin:end] = bytes(end - begin)
    Path(path).write_bytes(content)


def test_a_row_group_is_a_block(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(20, 6, 5, 3), range(20), row_group_size=3)
    images = stream(path, window=10)
    assert np.diff(images.shards.firsts).tolist() == [3] * 6 + [2]
    assert images.window == 4
    assert stream(path, window=1000).window == 7


def test_columns_may_have_other_names_and_labels_be_missing(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(4, 6, 5, 3), [3, None, 0, 1], "img")
    assert stream(path).labels.tolist() == [3, -1, 0, 1]
    assert stream(path).__getitems__([1, 3])[1].tolist() == [-1, 1]
    assert set(stream(path, label_column=None).labels.tolist()) == {-1}
    with pytest.raises(UserError, match=r"data\.source\.label_column=class is not a column of numbers or names"):
        stream(path, label_column="class")


@pytest.mark.parametrize(
    ("file", "size"),
    [("blocks.npy", 0), ("blocks.npy", 140), ("images", 0), ("images", 10), ("images", 80), ("columns", 0),
     ("train-0-stratified.npy", 0), ("train-0-stratified.npy", 130), ("digests", None)],
)  # fmt: skip
def test_a_damaged_index_is_named(file, size, noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(20, 6, 5, 3), range(20))
    stream(path)
    (damaged,) = (tmp_path / "cache").glob(f"*/{file}")
    damaged.unlink() if size is None else os.truncate(damaged, size)
    with pytest.raises(UserError, match=rf"{damaged.parent} is damaged \(.*\): delete it$"):
        stream(path)


def test_a_missing_image_is_a_corrupt_one(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [*noise(4, 6, 5, 3), None], range(5))
    with pytest.raises(UserError, match=r"^row 4 of .*a\.parquet cannot be read as an image"):
        stream(path).__getitems__([4])


def test_images_of_another_size_are_named_unless_resized(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [*noise(3, 6, 5, 3), noise(12, 10, 3)], range(4))
    with pytest.raises(UserError, match=r"^row 3 of .* is 12 x 10 pixels"):
        stream(path).__getitems__([0, 3])
    assert stream(path, resize=True).__getitems__([3])[0].shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        (-10, -4, r"1\.parquet cannot be read as a Parquet file"),  # the footer
        (-6000, -4000, r"1\.parquet cannot be read as a Parquet file|^the column label of .*1\.parquet cannot be read"),
    ],
)
def test_a_damaged_shard_is_named_before_training(noise, write_parquet, stream, tmp_path, begin, end, message):
    for shard in range(2):
        path = write_parquet(tmp_path / f"{shard}.parquet", noise(40, 6, 5, 3), range(40), row_group_size=1)
    size = Path(path).stat().st_size
    damage(path, size + begin, size + end)
    with pytest.raises(UserError, match=message) as error:
        stream(tmp_path)
    assert "\n" not in str(error.value)


def test_a_row_group_that_is_damaged_later_is_named(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(40, 6, 5, 3), range(40), row_group_size=10)
    images = stream(path)
    assert torch.equal(images.__getitems__([25])[1], torch.tensor([25]))
    images._blocks.clear()
    damage(path, images.shards.sizes[:2].sum() + 200, images.shards.sizes[:2].sum() + 600)
    with pytest.raises(UserError, match=r"^(row group 2 of .*a\.parquet cannot be read: fetch the file again)$"):
        images.__getitems__([25])


def test_a_shard_that_goes_away_or_becomes_another_is_named(noise, write_parquet, stream, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", noise(40, 6, 5, 3), range(40), row_group_size=10)
    images = stream(path)
    write_parquet(path, noise(40, 6, 5, 3), range(40), row_group_size=7)
    with pytest.raises(UserError, match=r"a\.parquet was replaced after the job began: start the job again"):
        images.__getitems__([0])
    Path(path).unlink()
    with pytest.raises(UserError, match=r"^row group 0 of .*a\.parquet cannot be read"):
        images.__getitems__([0])


@pytest.mark.parametrize("heldout", [False, True])
def test_the_columns_of_the_first_file_are_those_of_all(noise, encode, tmp_path, heldout):
    images = {name: [encode(image) for image in noise(4, 6, 5, 3)] for name in "abc"}
    tables = [
        {"image": images["a"], "category": ["x", "y", "x", "y"]},
        {"picture": images["b"], "image": images["c"], "label": ["p", "q", "p", "q"], "category": ["y", "z", "y", "z"]},
    ]
    for name, table in zip(("train-0", "test-0" if heldout else "train-1"), tables, strict=True):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    for kind in (Parquet, ParquetStream):
        source = kind(cache_dir=str(tmp_path / "cache"), heldout_fraction=0)
        labels, classes = source.labels(str(tmp_path))
        assert ([classes.names[label] for label in labels], classes.names) == ([*"xyxyyzyz"], ("x", "y", "z"))
        split = source.load("heldout" if heldout else "train", SHAPE, str(tmp_path))
        assert split.facts.classes.names == ("x", "y", "z")
        expected = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in images["c"]])
        numbers = [len(split) - 4 + i for i in range(4)]
        assert np.array_equal(split.__getitems__(numbers)[0].numpy().transpose(0, 2, 3, 1), expected)


FIXED = {b"huggingface": b'{"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}'}


@pytest.mark.parametrize(
    ("train", "test", "refused"),
    [([0, 1], ["b", "c"], True), (["b", "c"], [0, 1], True), (["b", "c"], ["a", "d"], False), ([0, 1], [1, 0], False)],
)
def test_numbers_and_names_beside_given_names_are_refused(noise, encode, tmp_path, train, test, refused):
    """As `Parquet` refuses them: one training file has the names of its numbers, another one not."""
    images = [encode(image) for image in noise(2, 6, 5, 3)]
    given = pa.table({"image": images, "label": [0, 1]}).replace_schema_metadata(FIXED)
    pq.write_table(given, tmp_path / "train-0.parquet")
    pq.write_table(pa.table({"image": images, "label": train}), tmp_path / "train-1.parquet")
    pq.write_table(pa.table({"image": images, "label": test}), tmp_path / "test-0.parquet")
    for kind in (Parquet, ParquetStream):
        source = kind(cache_dir=str(tmp_path / "cache"))
        for split in (None, "train", "heldout"):
            refusal = r"(test-0|train-1)\.parquet has labels that are numbers, and .*such as b"
            with pytest.raises(UserError, match=refusal) if refused else nullcontext():
                source.load(split, SHAPE, str(tmp_path)) if split else source.labels(str(tmp_path))

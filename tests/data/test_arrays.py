"""Arrays of pixels and base64 text in Parquet files, read by both sources."""

import base64

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inkwash.data.arrays import file_of, file_of_text
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.rendering import Rendering
from inkwash.errors import UserError

SOURCES = pytest.mark.parametrize("source", [Parquet, ParquetStream])


@pytest.fixture
def load(tmp_path):
    """Load the only column of a table: uint8 (N, C, H, W)."""

    def load(source, table, shape=(3, 4, 5), **options):
        pq.write_table(pa.table(table), tmp_path / "a.parquet")
        read = source(heldout_fraction=0, label_column=None, cache_dir=str(tmp_path / "cache"), **options)
        split = read.load("train", shape, str(tmp_path / "a.parquet"))
        return split.__getitems__([*range(len(split))])[0].numpy()

    return load


def scaled(levels, black, white):
    return np.round(np.clip((levels - black) / (white - black), 0, 1) * 255).astype(np.uint8)


@SOURCES
@pytest.mark.parametrize(
    ("low", "high", "kind", "range_"),
    [
        (0, 4096, np.uint16, {"white": 4095}),
        (-1000, 3000, np.int64, {"black": -1000, "white": 2999}),
        (50, 200, np.uint8, {"black": 50}),
        (0.0, 1.0, np.float32, {"white": 1}),
        (-1.0, 1.0, np.float64, {"black": -1, "white": 1}),
    ],
)
def test_arrays_are_scaled_by_a_stated_range(source, load, low, high, kind, range_):
    """huggingface/datasets#5461: depth maps are Array2D of float32 or uint16, as files of 8 bits would lose them."""
    rng = np.random.default_rng(0)
    images = (low + (high - low) * rng.random((6, 4, 5, 3))).astype(kind)
    wanted = scaled(images.astype(np.float64), range_.get("black", 0), range_.get("white", 255))
    for stored in (images, images.transpose(0, 3, 1, 2)):
        found = load(source, {"image": stored.tolist()}, image_column="image", **range_)
        assert np.array_equal(found, wanted.transpose(0, 3, 1, 2))


@SOURCES
def test_alpha_has_the_white_of_the_colours(source, load):
    pixels = np.full((1, 4, 5, 4), [100, 300, 500, 1000])
    found = load(source, {"image": pixels.tolist()}, (4, 4, 5), black=100, white=1000)
    assert found[0, :, 0, 0].tolist() == [0, 57, 113, 255]


@SOURCES
@pytest.mark.parametrize(
    ("pixel", "options", "typed"),
    [
        (4033, {}, "levels 4033 .. 4033, .*perhaps data.source.white=4095$"),
        (300, {}, "perhaps data.source.white=1023$"),
        (70000, {}, "perhaps data.source.white=70000$"),
        (-1024, {}, "perhaps data.source.black=-1024 data.source.white=1023$"),
        (0.5, {"image_column": "image"}, "floats 0.5 .. 0.5, .*perhaps data.source.black=0 data.source.white=1$"),
        (-0.5, {"image_column": "image"}, "perhaps data.source.black=-1 data.source.white=1$"),
        (254.0, {"image_column": "image"}, "perhaps data.source.black=0 data.source.white=255$"),
        (0.5, {"image_column": "image", "black": 0}, "its array holds floats .*add data.source.black=... and"),
        (0.5, {}, "arrays of floats, image: .* data.source.image_column=image data.source.black=... data.source.white"),
    ],
)
def test_arrays_of_an_unknown_range_are_refused_with_what_to_type(source, load, pixel, options, typed):
    with pytest.raises(UserError, match=typed):
        load(source, {"image": np.full((1, 4, 5, 3), pixel).tolist()}, skip_corrupt=True, **options)


@SOURCES
def test_an_array_with_nan_is_corrupt(source, load):
    pixels = np.zeros((2, 4, 5, 3))
    pixels[1, 0, 0, 0] = np.nan
    options = {"image_column": "image", "white": 1}
    with pytest.raises(UserError, match=r"row 1 of .*not numbers \(NaN\): remove or repair it, or add .*skip_corrupt"):
        load(source, {"image": pixels.tolist()}, **options)
    assert not load(source, {"image": pixels.tolist()}, skip_corrupt=True, **options)[0].any()


@SOURCES
def test_base64_text_is_a_file(source, load, noise, encode):
    """Tables for vision and language models hold images as base64, plain or as data URLs (LLaVA, TSV files)."""
    images = noise(4, 4, 5, 3)
    text = [base64.b64encode(encode(image)).decode() for image in images]
    text[1] = f"data:image/png;base64,{text[1]}"
    text[2] = "\n".join(text[2][i : i + 76] for i in range(0, len(text[2]), 76))
    assert np.array_equal(load(source, {"image": text}), images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("path", ["a.png", "/9j/a b.png", "iVBORw0KGgo.png", "R0lGOD/x.gif", "data:image/x", ""])
def test_paths_are_no_base64(path):
    assert file_of_text(path) is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "lists of images in the column x: stor"),
        (pa.list_(pa.int64()), "no column of images among x, as files in bytes, paths or arrays of pixels are: name"),
    ],
)
def test_a_column_of_no_images_says_why(load, kind, message):
    with pytest.raises(UserError, match=message):
        load(Parquet, {"x": pa.array([None], kind)})


def test_many_columns_are_not_all_named(load):
    """Tables of MNIST have a column for each of 784 pixels."""
    with pytest.raises(UserError, match=r"no column of images among p0, p1, .*, p9, \.\.\., as files in bytes"):
        load(Parquet, {f"p{i}": [i] for i in range(784)})


def test_a_list_with_a_null_is_no_image():
    assert file_of([137, None, 78], Rendering()) == b""

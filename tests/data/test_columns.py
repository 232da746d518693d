"""Columns of the types that pandas, Polars, DuckDB, fastparquet and `datasets` write; made by pyarrow."""

import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from inkwash.data.columns import columns_of, holds_images, rows_at_once
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.errors import UserError

SHAPE = (3, 6, 5)
WORDS = ["dog", "cat"] * 3


@pytest.fixture
def pixels(noise):
    return noise(6, 6, 5, 3)


@pytest.fixture
def files(pixels, encode):
    return [encode(image) for image in pixels]


@pytest.fixture
def load(tmp_path, pixels):
    """load(table): labels and class names; the pixels are compared."""

    def read(table, name="a.parquet", sources=(Parquet, ParquetStream), **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if table is not None:
            pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
        found = []
        for source in sources:
            split = source(heldout_fraction=0, cache_dir=str(tmp_path / "cache"), **options).load(
                "train", SHAPE, str(path)
            )
            images, labels = split.__getitems__(list(range(len(split))))
            assert torch.equal(images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
            found.append((labels.tolist(), split.facts.classes.names))
        assert found[0] == found[-1]
        return found[0]

    return read


def structs(files, names=("bytes", "path"), kinds=None, paths=None):
    values = dict(zip(("bytes", "path"), (files, paths or [None] * len(files)), strict=True))
    arrays = [pa.array(values[name], (kinds or {}).get(name, pa.binary() if name == "bytes" else pa.string()))
              for name in names]  # fmt: skip
    return pa.StructArray.from_arrays(arrays, list(names))


def turned_tensor(pixels):
    """A column of (W, H, C) whose permutation says (H, W, C)."""
    stored = np.ascontiguousarray(pixels.transpose(0, 2, 1, 3))
    tensor = pa.fixed_shape_tensor(pa.uint8(), stored.shape[1:], permutation=[1, 0, 2])
    values = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored[0].size)
    return pa.ExtensionArray.from_storage(tensor, values)


COLUMNS = {
    "binary": lambda files, pixels: pa.array(files, pa.binary()),
    "large": lambda files, pixels: pa.array(files, pa.large_binary()),
    "view": lambda files, pixels: pa.array(files, pa.binary_view()),
    "dictionary": lambda files, pixels: pa.array(files).dictionary_encode(),
    "fixed size": lambda files, pixels: pa.array([f.ljust(400, b"\0") for f in files], pa.binary(400)),
    "struct": lambda files, pixels: structs(files),
    "struct, path first": lambda files, pixels: structs(files, ("path", "bytes")),
    "struct without path": lambda files, pixels: structs(files, ("bytes",)),
    "struct of large types": lambda files, pixels: structs(
        files, kinds={"bytes": pa.large_binary(), "path": pa.large_string()}
    ),
    "list of bytes": lambda files, pixels: pa.array([list(file) for file in files], pa.list_(pa.uint8())),
    "large list of bytes": lambda files, pixels: pa.array([list(file) for file in files], pa.large_list(pa.uint8())),
    "array": lambda files, pixels: pa.array(pixels.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8())))),
    "array of int64": lambda files, pixels: pa.array(pixels.tolist()),
    "array, channels first": lambda files, pixels: pa.array(pixels.transpose(0, 3, 1, 2).tolist()),
    "array of fixed size": lambda files, pixels: pa.array(
        pixels.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 5), 6)
    ),
    "tensor": lambda files, pixels: pa.FixedShapeTensorArray.from_numpy_ndarray(pixels),
    "tensor in another order": lambda files, pixels: turned_tensor(pixels),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_images_of_any_type(load, files, pixels, kind):
    """Polars writes large types (datasets#7765), DuckDB and pandas others."""
    assert load({"picture": COLUMNS[kind](files, pixels), "label": WORDS}) == ([1, 0] * 3, ("cat", "dog"))


@pytest.mark.parametrize("kind", ["string", "large", "dictionary", "view", "struct"])
def test_images_may_be_files_that_are_named(load, files, tmp_path, kind):
    names = [f"imgs/{i} ü [1].png" for i in range(6)]
    (tmp_path / "imgs").mkdir()
    for name, file in zip(names, files, strict=True):
        (tmp_path / name).write_bytes(file)
    column = {
        "string": pa.array(names), "large": pa.array(names, pa.large_string()),
        "dictionary": pa.array(names).dictionary_encode(), "view": pa.array(names, pa.string_view()),
        "struct": structs([None] * 6, paths=names),
    }[kind]  # fmt: skip
    table = {"image" if kind == "struct" else "file_name": column, "label": WORDS}
    assert load(table) == ([1, 0] * 3, ("cat", "dog"))
    if kind == "string":
        load({"odd": column}, "b.parquet", label_column=None, image_column="odd")
        (tmp_path / names[0]).write_bytes(files[1])
        with pytest.raises(AssertionError):  # other pixels: the cache notices
            load(None, sources=(Parquet,))
    (tmp_path / names[0]).unlink()
    for source in (Parquet, ParquetStream):
        with pytest.raises(UserError, match=r"^row 0 of .*\.parquet: its file .*imgs/0 ü \[1\]\.png does not exist"):
            load(None, sources=(source,))


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
def test_files_that_are_named_and_missing_are_passed_over(source, files, tmp_path):
    names = ["gone.png", "a.png", "folder", "a.png/b.png", "x" * 50 + "\0", ""]
    (tmp_path / "a.png").write_bytes(files[0])
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.table({"path": names, "label": range(6)}), tmp_path / "a.parquet")
    read = source(heldout_fraction=0, skip_corrupt=True, cache_dir=str(tmp_path / "cache"))
    images = read.load("train", SHAPE, str(tmp_path / "a.parquet"))
    assert set(images.__getitems__(list(range(len(images))))[1].tolist()) == {1}
    if source is Parquet:
        assert images.facts.passed_over["unreadable"].count == 5
        (tmp_path / "gone.png").write_bytes(files[1])  # the cache notices
        assert read.load("train", SHAPE, str(tmp_path / "a.parquet")).labels.tolist() == [0, 1]


def test_of_bytes_and_path_the_bytes_are_read(load, files, tmp_path):
    paths = ["gone.png"] * 5 + ["5.png"]
    (tmp_path / "5.png").write_bytes(files[5])
    load({"image": structs([*files[:5], None], paths=paths), "label": WORDS})


@pytest.mark.parametrize("address", ["https://x.org/a.png", "s3://bucket/a.png", "zip://a.png::https://x.org/b.zip"])
def test_addresses_are_refused(load, address):
    with pytest.raises(UserError, match=r"images that are addresses, .*a\.png"):
        load({"image": [address] * 6, "label": WORDS})


LABELS = {
    "string": (pa.array(WORDS), ("cat", "dog")),
    "large string": (pa.array(WORDS, pa.large_string()), ("cat", "dog")),
    "string view": (pa.array(WORDS, pa.string_view()), ("cat", "dog")),
    "text in bytes": (pa.array([word.encode() for word in WORDS]), ("cat", "dog")),
    "dictionary": (pa.array(WORDS).dictionary_encode(), ("cat", "dog")),
    "bool": (pa.array([True, False] * 3), ("false", "true")),
    "uint8": (pa.array([1, 0] * 3, pa.uint8()), ()),
    "double": (pa.array([1.0, 0.0] * 3), ()),
    "decimal": (pa.array([1, 0] * 3, pa.decimal128(4, 0)), ()),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type(load, files, kind):
    labels, names = LABELS[kind]
    assert load({"image": files, "label": labels}) == ([1, 0] * 3, names)


def test_missing_labels_are_none(load, files):
    for labels in ([1, None] * 3, [1.0, float("nan")] * 3, ["a", None] * 3):
        assert load({"image": files, "label": labels})[0][1] == -1


@pytest.mark.parametrize("name", ["labels", "class", "target", "fine_label", "y", "Label"])
def test_a_column_with_a_name_like_label_is_found(load, files, name):
    assert load({"img": files, name: WORDS, "caption": ["x"] * 6}) == ([1, 0] * 3, ("cat", "dog"))


@pytest.mark.parametrize("name", ["fine_label", "animal"])
def test_names_in_the_metadata_of_datasets(load, files, name):
    table = pa.table({"img": files, "size": [7] * 6, name: [1, 0] * 3})
    features = {"img": {"_type": "Image"}, name: {"names": ["apple", "ant"], "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    assert load(table) == ([1, 0] * 3, ("apple", "ant"))


def test_one_of_several_columns_must_be_named(load, files):
    """CIFAR-100 has fine_label and coarse_label."""
    table = {"image": files, "fine_label": WORDS, "coarse_label": WORDS}
    with pytest.raises(UserError, match=r"label_column=label is not .*name another one, fine_label or coarse_label"):
        load(table)
    assert load(table, label_column="fine_label")[1] == ("cat", "dog")
    with pytest.raises(UserError, match=r"has 2 columns of images, image, mask: name one with .*image_column=\.\.\."):
        load({"image": files, "mask": files, "label": WORDS})
    with pytest.raises(UserError, match=r"has no column of images among a, label, as"):
        load({"a": [1] * 6, "label": WORDS})


def test_checksums_and_texts_are_no_images(load, files):
    table = {"image": files, "label": WORDS, "md5": pa.array([b"0" * 16] * 6, pa.binary(16)), "path": ["x"] * 6}
    load(table)


def test_masks_are_no_labels(load, files):
    with pytest.raises(UserError, match=r"label_column=label in .* holds bytes that are no text: name a column of"):
        load({"image": files, "label": files})
    with pytest.raises(UserError, match=r"label_column=label is not a column of numbers or names"):
        load({"image": files, "label": [[1, 2]] * 6})


def test_folders_that_stand_for_a_column(load, files, pixels, tmp_path):
    """As pandas, Polars and DuckDB partition tables: label=cat/0.parquet."""
    for i, (label, part) in enumerate((("cat", files[:2]), ("dog", files[2:4]), ("tabby%20cat", files[4:]))):
        (folder := tmp_path / "set" / f"label={label}").mkdir(parents=True)
        pq.write_table(pa.table({"image": part}), folder / f"{i}.parquet")
    labels, names = load(None, "set")
    assert names == ("cat", "dog", "tabby cat")
    assert labels == [0, 0, 1, 1, 2, 2]


def test_any_number_of_files_with_few_descriptors(load, files, pixels, tmp_path, noise, encode):
    (folder := tmp_path / "many").mkdir()
    for i in range(6):
        pq.write_table(pa.table({"image": files[i : i + 1], "label": [i]}), folder / f"{i:03}.parquet")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/dev/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 4, hard))  # one for a lock, one for the cache, one to list
        assert load(None, "many", sources=(Parquet,))[0] == list(range(6))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["a b", "[v2]", "日本", "{0..1}"])
def test_paths_with_any_letters(load, files, name):
    assert load({"image": files, "label": WORDS}, f"{name}/train {name}.parquet")[1] == ("cat", "dog")


def test_large_images_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    """pyarrow reads no 2 GB of nested values at once (data-prep-kit#816)."""
    path, large = tmp_path / "a.parquet", [bytes([i]) * 10_000 for i in range(20)]
    monkeypatch.setattr("inkwash.data.columns.BYTES_AT_ONCE", 105_000)
    pq.write_table(pa.table({"image": structs(large)}), path)
    assert rows_at_once(pq.read_metadata(path), "image") == 10
    pq.write_table(pa.table({"image": [b"x"] * 20, "image2": large}), path)
    assert rows_at_once(pq.read_metadata(path), "image") == 1024


def test_types_that_hold_no_images():
    for kind in (pa.int64(), pa.string(), pa.binary(16), pa.list_(pa.int64()), pa.list_(pa.float32()),
                 pa.struct([("a", pa.int64())]), pa.list_(pa.list_(pa.float32())), pa.null()):  # fmt: skip
        assert not holds_images(kind)


@pytest.mark.parametrize("source", [Parquet, ParquetStream])
@pytest.mark.parametrize(
    ("values", "passed_over", "message"),
    [
        ([[1, 2], [3]], True, r"cannot be read as an image"),
        ([[[1] * 2] * 8] * 8, True, r"its array of shape \(8, 8, 2\) has neither 1, 3 nor 4 channels: store arrays"),
        ([[1, 300]], False, r"its array holds levels 1 \.\. 300, but arrays of pixels hold whole numbers 0 \.\. 255"),
        ([[-1, 3]], False, r"its array holds levels -1 \.\. 3, but"),
    ],
)
def test_an_array_that_is_no_image_is_named(source, values, passed_over, message, tmp_path):
    sound = [[1, 2]] if len(values) < 8 else [[[1], [2]]]
    pq.write_table(pa.table({"image": [sound] * 3 + [values]}), tmp_path / "a.parquet")
    for skip in (False, True):
        read = source(None, 0, label_column=None, skip_corrupt=skip, cache_dir=str(tmp_path / "cache"))
        if skip and passed_over:
            assert read.load("train", (1, 1, 2), str(tmp_path / "a.parquet")).__getitems__([0, 1, 2])
            continue
        with pytest.raises(UserError, match=rf"row 3 of .*a\.parquet:? {message}") as error:
            read.load("train", (1, 1, 2), str(tmp_path / "a.parquet")).__getitems__([0, 1, 2, 3])
        assert ("skip_corrupt" in str(error.value)) == passed_over


def test_the_columns_are_told_by_the_schema():
    schema = pa.schema([("label", pa.int64()), ("x", pa.binary())])
    assert columns_of(Path("a"), schema, None, "label") == ("x", "label")
    assert columns_of(Path("a"), schema, "x", None) == ("x", None)

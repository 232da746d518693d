import pytest

from inkwash.data.splits import (
    by_name,
    divide_files,
    mixed,
    names_below,
    split_of,
    split_of_folder,
)
from inkwash.data.suspicions import incomplete
from inkwash.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("cifar10_test.parquet", "test"),
        ("ImageNet-Val-0001.tar", "validation"),
        ("dev.tar", "validation"),
        ("strain.parquet", None),
        ("latest-0001.tar", None),
        ("0001.parquet", None),
    ],
)
def test_a_name_tells_its_split(name, split):
    assert split_of(name) == split


def test_a_name_of_two_splits_is_refused():
    with pytest.raises(UserError, match=r"test and train: rename it, or .*data\.source\.splits=none"):
        split_of("train-test.parquet")


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("train2017", "train"), ("val_images", "validation"), ("steam train", None), ("cat", None)],
)
def test_a_folder_is_a_split_by_its_whole_name(name, split):
    assert split_of_folder(name) == split


@pytest.mark.parametrize(
    ("files", "train", "heldout", "unused"),
    [
        (("train-0.tar", "train-1.tar", "test-0.tar"), ["train-0.tar", "train-1.tar"], ["test-0.tar"], []),
        (("train-0.tar", "validation-0.tar", "test-0.tar"), ["train-0.tar"], ["validation-0.tar"], ["test-0.tar"]),
        (("default/train/0.tar", "default/test/0.tar"), ["0.tar"], ["0.tar"], []),
        (("0.tar", "1.tar"), ["0.tar", "1.tar"], None, []),
        (("train-0.tar", "train-1.tar"), ["train-0.tar", "train-1.tar"], None, []),
        (("test-0.tar", "test-1.tar"), ["test-0.tar", "test-1.tar"], None, []),
    ],
)
def test_names_of_files_divide_them(tmp_path, files, train, heldout, unused):
    for path in (touch(tmp_path / "d", *files), tmp_path / "d/*.tar"):
        if path.name == "*.tar" and "/" in files[0]:
            continue
        division = divide_files(path, None, (".tar",), "auto")
        assert [file.name for file in division.train] == train
        assert (division.heldout and [file.name for file in division.heldout]) == heldout
        assert [file.name for file in division.unused] == unused
    whole = divide_files(tmp_path / "d", None, (".tar",), "none")
    assert (len(whole.train), whole.heldout) == (len(files), None)


def test_files_of_no_split_beside_those_for_training_are_refused(tmp_path):
    touch(tmp_path, "train-0.tar", "extra-0.tar")
    with pytest.raises(UserError, match=r"train-0\.tar for training, and extra-0\.tar, .*data\.source\.splits=none"):
        divide_files(tmp_path, None, (".tar",), "auto")


def test_heldout_files_are_not_trained_on(tmp_path):
    touch(tmp_path, "a-0.tar", "a-1.tar", "hub/train-0.tar", "hub/test-0.tar")
    division = divide_files(tmp_path / "*.tar", tmp_path / "a-1.tar", (".tar",), "auto")
    assert [division.train, division.heldout] == [[tmp_path / "a-0.tar"], [tmp_path / "a-1.tar"]]
    with pytest.raises(UserError, match="leaves none for training"):
        divide_files(tmp_path / "a-0.tar", tmp_path / "a-0.tar", (".tar",), "auto")
    same_folder = divide_files(tmp_path / "hub", tmp_path / "hub", (".tar",), "auto")
    assert [same_folder.train, same_folder.heldout] == [[tmp_path / "hub/train-0.tar"], [tmp_path / "hub/test-0.tar"]]


def test_heldout_files_are_known_by_other_paths_too(tmp_path):
    """A link to the folder, and a path with .. in it, are ways to write what is the same file."""
    touch(tmp_path / "real", "a-0.tar", "a-1.tar")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for other in ("real/a-1.tar", "link/../real/a-1.tar"):
        division = divide_files(tmp_path / "link", tmp_path / other, (".tar",), "auto")
        assert division.train == [tmp_path / "link/a-0.tar"]


def test_a_linked_folder_is_a_split_like_others(tmp_path):
    """With train on another disk, the test files alone would be the set."""
    touch(tmp_path, "disk/0.tar", "d/test/0.tar")
    (tmp_path / "d/train").symlink_to(tmp_path / "disk")
    division = divide_files(tmp_path / "d", None, (".tar",), "auto")
    assert [division.train, division.heldout] == [[tmp_path / "d/train/0.tar"], [tmp_path / "d/test/0.tar"]]


def test_the_topmost_name_tells_the_split(tmp_path):
    files = [tmp_path / "train/test_a.tar", tmp_path / "test/train_b.tar"]
    assert by_name(files, tmp_path) == {"train": files[:1], "test": files[1:]}


def test_names_of_folders_count_from_what_all_have_in_common(tmp_path):
    """A folder above the set may be called train; one of several in it tells a split."""
    root = tmp_path / "train"
    assert names_below([root / "a/0.tar", root / "test/0.tar"]) == ["a/0.tar", "test/0.tar"]
    assert names_below([root / "a/0.tar", root / "a/1.tar"]) == ["0.tar", "1.tar"]


def test_names_of_several_splits_in_one_set_are_suspicious():
    assert mixed(["train-0.tar", "test-0.tar"])[0].startswith("names in data.path tell test and train")
    assert mixed(["train-0.tar", "train-1.tar"]) == mixed(["a", "latest"]) == mixed(["test"]) == ()


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        ("train-00000-of-00002 train-00001-of-00002 test-00000-of-00001", []),
        ("a-1-of-2 a-2-of-2", []),
        ("train-00000-of-00003 train-00002-of-00003", ["1 of the 3 files train-...-of-00003 are not there, number 1"]),
        ("a_00001-of-00004-1f2e a_00003-of-00004-3c4d", ["2 of the 4 files a_...-of-00004 are not there, number 0"]),
        ("a-0-of-1-x a-0-of-1-y", ["number 0 of the 1 files a-...-of-00001 is there more than once, under two"]),
        ("a-99999999999-of-3 b-of-c 3-of-4", []),
        ("x-00000-of-00002 x-00001-of-00002 x-00002-of-00002", ["3 files x-...-of-00002, numbers 0 to 2, are more"]),
        ("x-00000-of-00000", ["1 files x-...-of-00000, numbers 0 to 0, are more than 0"]),
    ],
)
def test_missing_and_double_files_are_told(names, sentences):
    """PKU-YuanGroup/ImgEdit#3: files in the middle of a numbered set were missing, and nothing told so."""
    told = list(incomplete(f"{name}.parquet" for name in names.split()))
    assert [text.startswith(start) for text, start in zip(told, sentences, strict=True)] == [True] * len(sentences)


def test_values_of_labels_tell_no_split(tmp_path):
    """Folders of partitions are values of columns, and a class may be called train."""
    touch(tmp_path, "label=train/0.parquet", "label=bus/0.parquet", "name=test/0.parquet")
    assert divide_files(tmp_path, None, (".parquet",), "auto").heldout is None


def test_values_of_a_column_of_splits_tell_them(tmp_path):
    files = touch(tmp_path, "label=train/split=test/0.parquet", "label=test/split=train/0.parquet")
    division = divide_files(files, None, (".parquet",), "auto")
    assert division.train == [tmp_path / "label=test/split=train/0.parquet"]
    assert division.heldout == [tmp_path / "label=train/split=test/0.parquet"]


def test_a_file_that_is_given_alone_lacks_no_others(tmp_path):
    touch(tmp_path, "train-00000-of-00002.parquet")
    assert divide_files(tmp_path / "train-00000-of-00002.parquet", None, (".parquet",), "auto").suspicious == ()
    (sentence,) = divide_files(tmp_path, None, (".parquet",), "auto").suspicious
    assert sentence.startswith(f"1 of the 2 files {tmp_path}/train-...-of-00002 are not there, number 1 first")

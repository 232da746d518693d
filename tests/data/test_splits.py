import numpy as np
import pytest
import torch

from inkwash.data.splits import (
    by_name,
    divide_files,
    mixed,
    rows_of,
    split_of,
    split_of_folder,
)
from inkwash.errors import UserError
from inkwash.random import generator


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


def test_the_topmost_name_tells_the_split(tmp_path):
    files = [tmp_path / "train/test_a.tar", tmp_path / "test/train_b.tar"]
    assert by_name(files, tmp_path) == {"train": files[:1], "test": files[1:]}


def test_a_stratified_part_has_each_class_in_proportion():
    sizes = [500, 300, 150, 45, 4, 1]
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    heldout = rows_of("heldout", labels, 0.1)
    assert torch.bincount(labels[heldout], minlength=6).tolist() == [50, 30, 15, 5, 0, 0]
    assert torch.equal(rows_of("train", labels, 0.1), ~heldout)


@pytest.mark.parametrize("labels", [torch.full((1000,), -1), torch.full((1000,), 7), torch.arange(1000)])
def test_stratifying_one_class_or_single_images_changes_nothing(labels):
    # The rule of versions that did not stratify: the first ones of a permutation.
    wanted = torch.zeros(1000, dtype=torch.bool)
    wanted[torch.randperm(1000, generator=generator("heldout"))[:100]] = True
    for stratified in (True, False):
        assert torch.equal(rows_of("heldout", labels, 0.1, stratified), wanted)


def test_heldout_images_of_a_class_are_drawn_and_not_its_first():
    labels = torch.arange(2000) // 1000
    rows = rows_of("heldout", labels, 0.1).nonzero()[:, 0].numpy()
    # 200 uniform draws out of 2000, 100 in each half: their mean position is 1000 +- 4 standard errors.
    assert abs(rows.mean() - 999.5) < 4 * np.sqrt(1000**2 / 12 / 200)
    assert (rows < 1000).sum() == 100


@pytest.mark.parametrize(
    ("count", "fraction", "heldout"), [(1, 0.1, 0), (2, 0.1, 1), (12, 0.1, 1), (9, 0, 0), (4, 0.9, 3)]
)
def test_small_sets_keep_an_image_for_each_split_if_they_can(count, fraction, heldout):
    assert int(rows_of("heldout", torch.full((count,), -1), fraction).sum()) == heldout


def test_a_class_keeps_its_only_image_for_training():
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 5, 5, 5, 5])
    assert labels[rows_of("heldout", labels, 0.1)].tolist() == [5]


def test_names_of_several_splits_in_one_set_are_suspicious():
    assert mixed(["train-0.tar", "test-0.tar"])[0].startswith("names in data.path tell test and train")
    assert mixed(["train-0.tar", "train-1.tar"]) == mixed(["a", "latest"]) == mixed(["test"]) == ()

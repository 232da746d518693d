import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from inkwash.data.digits import Digits, divide, read_digits

SHAPE = (1, 8, 8)


def test_the_two_splits_are_all_1797_digits_once():
    train, heldout = Digits().load("train", SHAPE), Digits().load("heldout", SHAPE)
    assert (train.images.shape, heldout.images.shape) == ((1347, *SHAPE), (450, *SHAPE))
    expected = torch.from_numpy(load_digits().data / 16 * 255).round().byte()
    split = torch.cat([train.images, heldout.images]).flatten(1)
    assert sorted(split.tolist()) == sorted(expected.tolist())


def test_classes_are_held_out_in_proportion():
    counts = Digits().load("heldout", SHAPE).labels.bincount()
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 3


def test_the_seed_decides_the_split():
    prints = [Digits(seed=seed).load("heldout", SHAPE).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_grey_levels_reach_black_and_white():
    images = Digits().load("train", SHAPE).images
    assert (images.min(), images.max(), len(images.unique())) == (0, 255, 17)


def test_the_digits_are_scikit_learns():
    pixels, labels = read_digits()
    expected = load_digits()
    assert np.array_equal(pixels, expected.data)
    assert np.array_equal(labels, expected.target)


@pytest.mark.parametrize("heldout", [10, 11, 99, 450, 898, 1000, 1777, 1787])
def test_the_split_is_scikit_learns_row_for_row(heldout):
    labels = load_digits().target
    for seed in (0, 1, 2, 7, 2**32 - 1):
        train, rest = train_test_split(np.arange(1797), test_size=heldout, stratify=labels, random_state=seed)
        found = divide(labels, heldout, seed)
        assert np.array_equal(found[0], np.sort(train))
        assert np.array_equal(found[1], np.sort(rest))

import torch
from sklearn.datasets import load_digits

from inkwash.data.digits import Digits

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

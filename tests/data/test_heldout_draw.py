"""The held-out part that is drawn: in proportion to the classes, and the same one every time."""

import numpy as np
import pytest
import torch

from inkwash.data.heldout_draw import rows_of
from inkwash.random import generator


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

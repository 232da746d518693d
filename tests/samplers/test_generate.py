"""Labels of generated images: of grids, and of evaluations in the proportions of real images."""

import pytest
import torch

from inkwash.data.digits import Digits
from inkwash.errors import UserError
from inkwash.metrics.frechet import frechet_distance
from inkwash.metrics.moments import FeatureStatistics
from inkwash.samplers.generate import labels_for, labels_to_measure


def labels_of(counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def measured(real, n, classes, choice="reference"):
    return labels_to_measure(choice, real, n, classes, "labels")


def test_image_i_is_of_class_i_mod_num_classes():
    assert labels_for(range(5), 3).tolist() == [0, 1, 2, 0, 1]
    assert labels_for(range(5), None) is None


@pytest.mark.parametrize(
    ("counts", "n", "expected"),
    [
        ([60, 30, 10], 10, [6, 3, 1]),
        ([1, 1, 1], 4, [2, 1, 1]),  # equal remainders: the lower class
        ([7, 2, 1], 8, [6, 1, 1]),  # 5.6, 1.6, 0.8: the larger remainders, of equal ones the lower class
        ([5, 0, 5], 7, [4, 0, 3]),
        ([999_999, 1], 3, [3, 0]),
        ([3, 500, 2], 505_000, [3000, 500_000, 2000]),
    ],
)
def test_classes_have_the_references_proportions_exactly(counts, n, expected):
    labels = measured(labels_of(counts), n, len(counts))
    assert labels.choice == "reference"
    assert torch.bincount(labels.values, minlength=len(counts)).tolist() == expected


@pytest.mark.parametrize("n", [30, 32])
def test_a_balanced_reference_gives_labels_i_mod_num_classes(n):
    assert torch.equal(measured(labels_of([45] * 10), n, 10).values, labels_for(range(n), 10))


def test_every_beginning_of_the_series_has_about_the_proportions():
    """So that images of a first batch, or a first rank, are not of one class."""
    counts = torch.tensor([600, 300, 90, 10])
    labels = measured(labels_of(counts.tolist()), 5000, 4).values
    for n in range(1, 5001, 7):
        assert (torch.bincount(labels[:n], minlength=4) - n * counts / 1000).abs().max() <= 1.5


def test_labels_do_not_depend_on_ranks_or_batches():
    labels = measured(labels_of([6, 3, 1]), 101, 3)
    for world in (1, 2, 3, 8):
        found = torch.full((101,), -1)
        for rank in range(world):
            indices = range(rank, 101, world)
            found[list(indices)] = labels.of(indices)
        assert torch.equal(found, labels.values)


def test_images_without_a_label_do_not_count():
    real = torch.cat([labels_of([6, 3]), torch.full((50,), -1), torch.tensor([7])])
    assert torch.bincount(measured(real, 9, 2).values).tolist() == [6, 3]


@pytest.mark.parametrize("real", [torch.full((9,), -1), torch.empty(0, dtype=torch.int64)], ids=["none", "no image"])
def test_without_any_label_to_go_by_they_are_balanced_and_the_choice_says_so(real):
    labels = measured(real, 7, 3)
    assert labels.choice == "balanced"
    assert torch.equal(labels.values, labels_for(range(7), 3))


def test_balanced_on_request():
    labels = measured(labels_of([9, 1]), 6, 2, "balanced")
    assert (labels.values.tolist(), labels.choice) == ([0, 1, 0, 1, 0, 1], "balanced")
    assert measured(labels_of([9, 1]), 6, None) == (None, None)
    with pytest.raises(UserError, match="labels=even must be reference or balanced"):
        measured(labels_of([9, 1]), 6, 2, "even")


def test_a_perfect_model_of_rare_classes_is_at_the_floor():
    """guided-diffusion#56, LD3#3: with labels i mod K real images score as a bad model where classes are unbalanced."""
    digits = Digits().load("train", (1, 8, 8))
    rows = [(digits.labels == c).nonzero()[:, 0] for c in range(10)]
    thin = [r[: max(2, round(len(r) * 0.6**c))] for c, r in enumerate(rows)]
    reference, labels = torch.cat([r[::2] for r in thin]), torch.cat([digits.labels[r[::2]] for r in thin])

    def distance(choice):
        wanted = measured(labels, 100, 10, choice).values
        drawn = [rows[c][(j * 7) % len(rows[c])] for c in range(10) for j in range(int((wanted == c).sum()))]
        moments = [moments_of(digits.images[r].flatten(1).float()) for r in (torch.stack(drawn), reference)]
        return frechet_distance(*moments[0][1:], *moments[1][1:])

    assert distance("balanced") > 2 * distance("reference")


def moments_of(features):
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics.compute()

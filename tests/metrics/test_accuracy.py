"""Class accuracy counts."""

import torch

from inkwash.metrics.accuracy import ClassAccuracy


def test_it_is_the_share_of_all_images_so_far():
    metric = ClassAccuracy()
    metric.update(torch.tensor([[0.1, 0.9, 0.0], [2.0, -1.0, 1.0], [0.0, 0.2, 0.1]]), torch.tensor([1, 0, 2]))
    assert metric.compute() == 2 / 3
    metric.update(torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([2]))
    assert metric.compute() == 3 / 4

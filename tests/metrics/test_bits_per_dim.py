"""Bits per dimension of a split: the mean and its standard error."""

import pytest
import torch

from inkwash.metrics.bits_per_dim import BitsPerDim


def test_mean_and_standard_error_count_every_image_once():
    metric = BitsPerDim()
    metric.update([3, 0], torch.tensor([5.0, 1.0]))
    metric.update([1, 2, 3], torch.tensor([2.0, 4.0, 5.0]))
    found = metric.compute()
    assert found["bits_per_dim"] == 3
    assert found["bits_per_dim_error"] == pytest.approx((10 / 3) ** 0.5 / 2, rel=1e-12)


def test_one_image_has_no_error():
    metric = BitsPerDim("nll")
    metric.update([7], torch.tensor([2.5]))
    assert metric.compute() == {"nll": 2.5}
    metric.update([8], torch.tensor([3.5]))
    assert metric.compute() == {"nll": 3.0, "nll_error": 0.5}

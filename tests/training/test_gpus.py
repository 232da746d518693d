"""Estimates for GPUs, by hand."""

import pytest
import torch
from torch import nn

from inkwash.training.gpus import INSIDE, LAUNCHES, Work, kernels_of, step_seconds, work_of


def test_the_longest_of_three_counts():
    """3 x 1e9 x 100 operations at 30% of 1e12; 3 x 12,000 kernels; 4 bytes of 3e12 / 7 parameters, 7/4 times."""
    assert step_seconds(Work(10**9, 1, 1, 100), 1e12, 1, 0.3) == (pytest.approx(1.0), "operations")
    assert step_seconds(Work(10**9, 1, 1, 100), 1e12, 4, 0.3) == (pytest.approx(0.25), "operations")
    assert step_seconds(Work(1, LAUNCHES, 1, 100), 1e12, 1, 0.3) == (pytest.approx(3.0), "kernels")
    parameters = int(INSIDE / 7)
    assert step_seconds(Work(1, 1, parameters, 8), 1e12, 8, 0.3) == (pytest.approx(1.0), "exchange")


def test_views_are_no_kernels():
    x = torch.randn(4, 4)
    assert kernels_of(lambda: (x.T[2:].unsqueeze(0) + 1).relu()) == 2
    net = nn.Linear(3, 3)
    net.forward = lambda x, time, y: (x * 2) + time.view(-1, 1)
    assert work_of(net.to("meta"), (3,), 7, 5) == Work(7, 2, 12, 5)

"""Distances against their formulas."""

import math

import pytest
import torch

from inkwash.losses.distances import L1, L2, Huber, PseudoHuber


def test_distances():
    x, y, ratio = torch.tensor([0.0, 0.5, 3.0]), torch.zeros(3), torch.ones(3)
    assert L2()(x, y, ratio).tolist() == [0, 0.25, 9]
    assert L1()(x, y, ratio).tolist() == [0, 0.5, 3]
    assert Huber(1.0)(x, y, ratio).tolist() == [0, 0.125, 2.5]


def test_pseudo_huber_is_khrapov_et_als():
    """2 c (sqrt(d^2 + c^2) - c), with c from 1 at the data to c at pure noise."""
    d, zero = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for ratio, c in ((0.0, 1.0), (1.0, 0.1 + 0.9 / 4), (math.inf, 0.1)):
        found = PseudoHuber(0.1)(d, zero, torch.full((3,), ratio, dtype=torch.float64))
        torch.testing.assert_close(found, 2 * c * ((d**2 + c**2).sqrt() - c), rtol=1e-12, atol=1e-15)
    constant = PseudoHuber(0.1, scheduled=False)(d, zero, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(constant, 0.2 * ((d**2 + 0.01).sqrt() - 0.1), rtol=1e-12, atol=1e-15)


def test_pseudo_huber_keeps_small_errors():
    """About d^2, where float32 makes the textbook form 0."""
    d = torch.tensor([1e-5])
    assert PseudoHuber(0.5, scheduled=False)(d, torch.zeros(1), torch.ones(1)).item() == pytest.approx(1e-10, rel=1e-3)

"""Distances against their formulas."""

import math

import pytest
import torch

from inkwash.losses.distances import L1, L2, Huber, L2AndDirection, PseudoHuber


def test_distances():
    x, y, ratio = torch.tensor([0.0, 0.5, 3.0]), torch.zeros(3), torch.ones(3)
    assert L2()(x, y, ratio).tolist() == [0, 0.25, 9]
    assert L1()(x, y, ratio).tolist() == [0, 0.5, 3]
    assert Huber(1.0)(x, y, ratio).tolist() == [0, 0.125, 2.5]


def test_pseudo_huber_is_khrapov_et_als():
    """2 c (sqrt(d^2 + c^2) - c), with c from 1 at the data to c at pure noise."""
    d, zero = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for ratio, c in ((0.0, 1.0), (1.0, 0.1 + 0.9 / 4), (math.inf, 0.1)):
        found = PseudoHuber(0.1)(d + 2, zero + 2, torch.full((3,), ratio, dtype=torch.float64))
        torch.testing.assert_close(found, 2 * c * ((d**2 + c**2).sqrt() - c), rtol=1e-12, atol=1e-15)
    constant = PseudoHuber(0.1, scheduled=False)(d, zero, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(constant, 0.2 * ((d**2 + 0.01).sqrt() - 0.1), rtol=1e-12, atol=1e-15)


def test_pseudo_huber_keeps_small_errors():
    """About d^2, where float32 makes the textbook form 0."""
    d = torch.tensor([1e-5])
    assert PseudoHuber(0.5, scheduled=False)(d, torch.zeros(1), torch.ones(1)).item() == pytest.approx(1e-10, rel=1e-3)


def test_l2_and_direction_are_the_two_means():
    """Mean of squares and, at each place, 1 - cosine of the channels: 0 for the same direction, 2 for the opposite."""
    target = torch.tensor([[3.0, 4.0]]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    ratio = torch.ones(1, 1, 1, 1)
    for factor, square, cosine in ((2.0, 12.5, 1.0), (-1.0, 50.0, -1.0)):
        found = L2AndDirection()(factor * target, target, ratio)
        assert found.shape == target.shape
        assert found.mean().item() == pytest.approx(square + 1 - cosine)
    turned = L2AndDirection(0.5)(torch.tensor([[4.0, -3.0]]).view(1, 2, 1, 1), target[..., :1, :1], ratio)
    assert turned.mean().item() == pytest.approx(25 + 0.5)


def test_a_direction_keeps_small_angles_in_half_the_bits():
    """1 - cosine of an angle of 0.05, where bfloat16 has steps of 0.004 below 1."""
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    near = torch.tensor([1.0, 0.05]).view(1, 2, 1, 1)
    found = L2AndDirection()(near.bfloat16(), target, torch.ones(1, 1, 1, 1)).float().mean()
    assert found.item() == pytest.approx(0.05**2 / 2 + 0.05**2 / 2, rel=0.02)

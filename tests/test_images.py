"""Quantising to uint8 and back."""

import torch

from inkwash.images import to_float, to_uint8


def test_all_256_levels_survive_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_levels_span_minus_one_to_one_with_clipping():
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_quantising_is_unbiased():
    inside = torch.rand(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.98 - 0.99
    assert abs((to_float(to_uint8(inside)) - inside).mean()) < 1e-4  # truncation would give 4e-3


def test_scaling_leaves_its_argument_and_is_the_formula_to_the_last_bit():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(levels), levels.float() / 127.5 - 1)
    already = levels.float()
    to_float(already)
    assert torch.equal(already, levels.float())

"""Test the clipping of gradients against torch's own."""

import math

import pytest
import torch
from torch import nn

from inkwash.training.clipping import clip_norm


def parameters(scale, dtypes=(torch.float32,)):
    draws = torch.Generator().manual_seed(0)
    made = []
    for i, shape in enumerate([(3, 4), (5,), (2, 3, 3, 3), (1,)]):
        parameter = nn.Parameter(torch.zeros(shape, dtype=dtypes[i % len(dtypes)]))
        parameter.grad = (scale * torch.randn(shape, generator=draws)).to(parameter.dtype)
        made.append(parameter)
    return [*made, nn.Parameter(torch.zeros(2))]  # the last one has no gradient


@pytest.mark.parametrize("dtypes", [(torch.float32,), (torch.float64,), (torch.float32, torch.float64)])
@pytest.mark.parametrize("scale", [0.01, 10.0, math.inf, math.nan])
@pytest.mark.parametrize("most", [1.0, 0.0, math.inf])
def test_clipping_is_torchs_to_the_last_bit(dtypes, scale, most):
    ours, theirs = parameters(scale, dtypes), parameters(scale, dtypes)
    norm, expected = clip_norm(ours, most), nn.utils.clip_grad_norm_(theirs, most)
    assert torch.equal(norm, expected) or (norm.isnan() and expected.isnan())
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        if most < math.inf:
            assert torch.equal(a.grad.nan_to_num(7.0), b.grad.nan_to_num(7.0))
    assert ours[-1].grad is None


def test_no_limit_leaves_a_gradient_as_it_is():
    ours, before = parameters(10.0), parameters(10.0)
    clip_norm(ours, math.inf)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours[:-1], before[:-1], strict=True))

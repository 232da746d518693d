"""Positions on a grid: the tables of public code, and what a rotation keeps."""

import pytest
import torch

from inkwash.nets.positions import grid_embedding, grid_rotation, rotate

WIDE = torch.empty(0, dtype=torch.float64)


def test_the_table_begins_with_the_column():
    """Rows of the table of facebookresearch/DiT for 2 x 2 tokens of 8 features."""
    table = grid_embedding(2, 2, 8, WIDE)
    origin, turned = [0.0, 0, 1, 1], [0.84147098, 0.00999983, 0.54030231, 0.99995]
    expected = torch.tensor([origin + origin, turned + origin, origin + turned, turned + turned], dtype=torch.float64)
    torch.testing.assert_close(table, expected, rtol=0, atol=1e-8)


def test_the_rotation_begins_with_the_row():
    """Token (1, 0) of 2 x 2 with heads of 8 features, LightningDiT's table without its repetitions."""
    cos, sin = grid_rotation(2, 2, 8, WIDE)
    expected = torch.tensor([[0.5403, 0.99995, 1, 1], [0.8415, 0.0100, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([cos[2], sin[2]]), expected, rtol=0, atol=5e-5)


def test_a_product_of_rotated_vectors_depends_on_their_distance_alone():
    """On any two places of a grid of 3 x 5, in both directions."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    rotation = grid_rotation(3, 5, 12, WIDE)
    turned_q, turned_k = rotate(q.expand(15, 12), rotation), rotate(k.expand(15, 12), rotation)
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(15))
    products = (turned_q @ turned_k.T).view(3, 5, 3, 5)
    for a in range(2):
        for b in range(4):
            torch.testing.assert_close(products[a, b, a + 1, b], products[0, 0, 1, 0])
            torch.testing.assert_close(products[a, b, a, b + 1], products[0, 0, 0, 1])
            torch.testing.assert_close(products[a + 1, b + 1, a, b], products[1, 1, 0, 0])
    assert (products[0, 0, 1, 0] - products[0, 0, 0, 1]).abs() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tables_have_the_precision_that_is_asked_for(dtype):
    like = torch.empty(0, dtype=dtype)
    for table in (grid_embedding(2, 3, 8, like), *grid_rotation(2, 3, 8, like)):
        assert table.dtype == dtype
        assert table.shape[0] == 6

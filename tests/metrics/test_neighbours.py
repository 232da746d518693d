import torch

from inkwash.metrics import neighbours
from inkwash.metrics.density_coverage import DensityCoverage
from inkwash.metrics.neighbours import nearest_images, neighbour_radii, two_nearest
from inkwash.metrics.precision_recall import PrecisionRecall


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_radius_is_that_of_the_kth_other_point():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_radii(x, 1).tolist() == [1, 1, 2, 4]
    assert neighbour_radii(x, 3).tolist() == [7, 6, 4, 7]


def test_two_nearest_are_exact_where_matrix_products_are_not():
    y = 1000 + normal(300, 64, 0)
    x = y[:40].clone()
    x[20:, 0] += 1e-3
    nearest = two_nearest(x, y)
    assert nearest[:20, 0].tolist() == [0.0] * 20
    expected = (x[20:, 0].double() - y[20:40, 0].double()).abs()
    torch.testing.assert_close(nearest[20:, 0], expected, rtol=1e-12, atol=0)
    brute = (x[:, None].double() - y[None].double()).norm(dim=2).sort(dim=1).values[:, 1]
    torch.testing.assert_close(nearest[:, 1], brute, rtol=1e-12, atol=0)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    real, fake = normal(60, 5, 0), normal(45, 5, 1)
    values = []
    for block in (2**25, 100, 1):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        values.append([cls(real).score(fake) for cls in (DensityCoverage, PrecisionRecall)])
    assert values[0] == values[1] == values[2]


def test_the_nearest_image_is_found_in_any_batch(train, heldout):
    images = torch.cat([heldout.images[:20], train.images[[0, 700, 1346]]])  # the last three are their own
    distances = (images[:, None].double() - train.images.double()).flatten(2).norm(dim=2)
    expected = train.images[distances.argmin(dim=1)]
    assert torch.equal(expected[20:], images[20:])
    for batch_size in (7, 1347, 5000):
        assert torch.equal(nearest_images(images, train, batch_size=batch_size), expected)
    assert torch.equal(nearest_images(images, train), expected)
    mirrored = images[20:].flip(-1)
    assert torch.equal(nearest_images(mirrored, train, flip=True), mirrored)
    assert not torch.equal(nearest_images(mirrored, train), mirrored)

import math

import pytest
import torch

from inkwash.metrics import neighbours
from inkwash.metrics.density_coverage import DensityCoverage
from inkwash.metrics.extractors.base import NotApplicableError
from inkwash.metrics.neighbours import neighbour_radii, two_nearest
from inkwash.metrics.precision_recall import PrecisionRecall


def normal(n, d, seed, shift=0.0):
    return shift + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def brute_force(real, fake, k):
    """Naeem et al. 2020, eq. 4 and 5, pair by pair."""
    real, fake = real.tolist(), fake.tolist()
    radii = [sorted(math.dist(x, z) for z in real)[k] for x in real]
    inside = [[math.dist(x, y) < r for y in fake] for x, r in zip(real, radii, strict=True)]
    return {
        "density": sum(map(sum, inside)) / (k * len(fake)),
        "coverage": sum(map(any, inside)) / len(real),
    }


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7, 30.0])
def test_density_and_coverage_are_the_papers_sums(k, shift):
    real, fake = normal(60, 5, 0), normal(45, 5, 1, shift)
    metric = DensityCoverage(real, k)
    metric.update(range(45), fake)
    assert metric.compute() == pytest.approx(brute_force(real, fake, k), rel=1e-12)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    real, fake = normal(60, 5, 0), normal(45, 5, 1)
    values = []
    for block in (2**25, 100, 1):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        values.append([cls(real).score(fake) for cls in (DensityCoverage, PrecisionRecall)])
    assert values[0] == values[1] == values[2]


def test_an_outlier_spoils_precision_but_not_density():
    """Section 3.1 of the paper: one real outlier makes a ball that holds everything."""
    real = torch.cat([normal(100, 2, 0), torch.tensor([[400.0, 0.0]])])
    fake = normal(100, 2, 1, shift=150.0) * torch.tensor([1.0, 0.0])
    assert PrecisionRecall(real).score(fake)["precision"] == 1
    assert DensityCoverage(real).score(fake)["density"] < 0.25


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


@pytest.mark.parametrize("metric", [PrecisionRecall, DensityCoverage])
def test_too_few_images_for_k_neighbours(metric):
    with pytest.raises(NotApplicableError, match="k=9 must be at least 1 and below the 9 images"):
        metric(normal(9, 2, 0), k=9).prepare(Few(), 20)


class Few:
    class extractor:  # noqa: N801
        dim = 2

    def provenance(self, split=None): ...

    def features(self, split=None):
        return normal(9, 2, 0)

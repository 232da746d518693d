import math

import pytest
import torch

from inkwash.metrics.density_coverage import DensityCoverage
from inkwash.metrics.extractors.base import NotApplicableError
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


def test_an_outlier_spoils_precision_but_not_density():
    """Section 3.1 of the paper: one real outlier makes a ball that holds everything."""
    real = torch.cat([normal(100, 2, 0), torch.tensor([[400.0, 0.0]])])
    fake = normal(100, 2, 1, shift=150.0) * torch.tensor([1.0, 0.0])
    assert PrecisionRecall(real).score(fake)["precision"] == 1
    assert DensityCoverage(real).score(fake)["density"] < 0.25


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

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid

from inkwash.errors import UserError
from inkwash.metrics.frechet import FrechetDistance, frechet_distance
from inkwash.metrics.moments import FeatureStatistics


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(features):
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics.compute()


def distance(x, y):
    a, b = moments_of(x), moments_of(y)
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def sqrtm_distance(x, y):
    """Heusel et al. 2017, eq. 6, word for word."""
    x, y = x.numpy(), y.numpy()
    C_1, C_2 = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(C_1 @ C_2).real
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(C_1 + C_2 - 2 * root)


def test_two_isotropic_gaussians():
    d, mu = 5, torch.arange(5.0)
    value = frechet_distance(mu, 4 * torch.eye(d), 0 * mu, 9 * torch.eye(d))
    assert value == pytest.approx(30 + d * (3 - 2) ** 2, rel=1e-12)


def test_two_gaussians_whose_covariances_do_not_commute():
    C_1, C_2 = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([[5.0, -2.0], [-2.0, 1.0]])
    product = C_1 @ C_2  # 2 x 2: tr(A^(1/2)) = (tr A + 2 det(A)^(1/2))^(1/2)
    trace_root = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    value = frechet_distance(torch.zeros(2), C_1, torch.zeros(2), C_2)
    assert value == pytest.approx(5 + 6 - 2 * trace_root, rel=1e-6)


def test_a_singular_covariance_against_its_closed_form():
    C_1, C_2 = torch.diag(torch.tensor([4.0, 0.0, 1.0])), torch.diag(torch.tensor([9.0, 2.0, 0.0]))
    for A, B in ((C_1, C_2), (C_2, C_1)):
        assert frechet_distance(torch.zeros(3), A, torch.zeros(3), B) == pytest.approx(1 + 2 + 1, rel=1e-12)


@pytest.mark.parametrize(("n", "offset"), [(500, 0.0), (40, 100.0)], ids=["full rank", "rank-deficient, offset"])
def test_agrees_with_scipy_and_torchmetrics(n, offset):
    scale = torch.linspace(0.1, 3, 64)
    x, y = normal(n, 64) * scale + offset, normal(n, 64, seed=1) * scale.flip(0) + offset + 0.1
    value = distance(x, y)
    assert value == pytest.approx(sqrtm_distance(x, y), rel=1e-6)
    other = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    assert value == pytest.approx(other.item(), rel=1e-6)


def nuclear_distance(x, y):
    """tr((C_1 C_2)^(1/2)) as the sum of singular values of X Y^T, for centred X and Y: nothing small is squared."""
    mean, (x, y) = (x.mean(0) - y.mean(0)).square().sum(), ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    return (mean + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()).item()


@pytest.mark.parametrize("sizes", [(20, 30), (30, 20), (30, 100), (100, 30), (100, 100), (5, 5)], ids=str)
def test_no_digits_are_lost_on_singular_covariances(sizes):
    x, y = 10 + normal(sizes[0], 48), 10.2 + 1.5 * normal(sizes[1], 48, seed=1)
    assert distance(x, y) == pytest.approx(nuclear_distance(x, y), rel=1e-9)
    assert distance(-x, -y) == pytest.approx(nuclear_distance(x, y), rel=1e-9)


def test_no_digits_are_lost_where_the_mean_is_zero():
    """What rounding leaves of a zero eigenvalue is small beside the largest one, whatever the mean."""
    x, y, zero = normal(20, 48), 1.5 * normal(30, 48, seed=1), torch.zeros(48, dtype=torch.float64)
    expected = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    assert frechet_distance(zero, x.T @ x, zero, y.T @ y) == pytest.approx(expected.item(), rel=1e-12)


def test_moments_that_are_not_numbers_are_refused():
    mu, cov = torch.zeros(3), torch.eye(3)
    for bad in (math.nan, math.inf):
        with pytest.raises(UserError, match="needs finite means and covariances"):
            frechet_distance(mu, cov, mu + bad, cov)
        with pytest.raises(UserError, match="needs finite means and covariances"):
            frechet_distance(mu, bad * cov, mu, cov)


def test_rounding_never_makes_a_distance_negative():
    for seed in range(20):
        x = 100 + normal(50, 8, seed=seed)
        moments = moments_of(x)
        assert frechet_distance(*moments[1:], *moments_of(x.flip(0))[1:]) >= 0


@pytest.mark.parametrize("n", [30, 1000])
def test_is_symmetric_and_zero_for_equal_sets(n):
    x, y = 10 + normal(n, 48), 10.5 + 2 * normal(n, 48, seed=1)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-7)
    assert 0 <= distance(x, x) < 1e-9


def test_distance_of_a_shifted_set_and_reset():
    real = normal(200, 8)
    metric = FrechetDistance(moments_of(real))
    metric.update(real + 2)
    assert metric.compute() == pytest.approx(8 * 4, rel=1e-9)
    metric.reset()
    metric.update(real)
    assert metric.compute() == pytest.approx(0, abs=1e-9)
    assert metric.state_dict() == {}

"""On Gaussians, where the distance of infinitely many images is known."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.frechet_infinity import FrechetInfinity
from inkwash.metrics.frechet_interval import FrechetInterval
from inkwash.metrics.frechet_reweighted import Reweighted
from inkwash.metrics.moments import FeatureStatistics, Moments

DIM = 16
SCALE = torch.linspace(0.5, 2, DIM, dtype=torch.float64)
REFERENCE = Moments(0, torch.zeros(DIM, dtype=torch.float64), torch.diag(SCALE**2))
SHIFT = 0.05
TRUE = DIM * SHIFT**2 + (0.1 * SCALE).square().sum().item()  # equal but for a shift and a factor of 1.1


def sample(n, seed, shift=SHIFT):
    draws = torch.Generator().manual_seed(seed)
    return shift + 1.1 * SCALE * torch.randn(n, DIM, generator=draws, dtype=torch.float64)


def plain(features, reference=REFERENCE):
    metric = FrechetDistance(reference)
    metric.update(features)
    return metric.compute()


@pytest.mark.parametrize("rank", [DIM, 5], ids=["full rank", "singular reference"])
def test_reweighted_is_the_distance_of_the_repeated_images(rank):
    statistics = FeatureStatistics(DIM)
    statistics.update(10 + sample(rank + 1, 9) * 2)
    reference, x = statistics.compute(), 10 + sample(60, 0)
    weights = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(0))
    assert (weights == 0).any()
    value = Reweighted(x, reference).distance(weights)
    assert value == pytest.approx(plain(x.repeat_interleave(weights, dim=0), reference), rel=1e-9)


def test_extrapolation_is_closer_to_the_truth_for_every_sample():
    for seed in range(8):
        x = sample(1000, seed)
        metric = FrechetInfinity(REFERENCE, points=15, smallest=200)
        metric.update(range(1000), x)
        assert abs(metric.compute() - TRUE) < 0.75 * abs(plain(x) - TRUE)
        assert metric.sizes[0] == 200
        assert metric.sizes[-1] == 1000
        assert metric.notes() == []


def test_extrapolation_is_unbiased_where_the_plain_value_is_not():
    values = [
        [plain(x), FrechetInfinity(REFERENCE, smallest=100).score(x)] for x in (sample(500, s) for s in range(40))
    ]
    plain_bias, bias = (torch.tensor(values).double().mean(dim=0) - TRUE).tolist()
    assert plain_bias > 0.15
    assert abs(bias) < 0.2 * plain_bias


def test_extrapolation_notes_when_it_may_mislead():
    real = SCALE * torch.randn(20, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    metric = FrechetInfinity(REFERENCE)
    metric.update(range(20), real)
    value = metric.compute()
    assert metric.sizes[0] == 10
    assert "only 10 images in 16 dimensions" in metric.notes()[0]
    assert value >= 0
    assert (value == 0) == any("the line meets" in note for note in metric.notes())


@pytest.mark.parametrize(("shift", "fewest", "most"), [(1.0, 39, 57), (SHIFT, 44, 60)], ids=["far", "near"])
def test_the_interval_holds_the_mean_as_often_as_its_level(shift, fewest, most):
    """Of 60 samples of 200; the mean over many samples of that size is what a distance of 200 images estimates.

    48 of 60 are expected, with a standard deviation of 3.1, and more where the distance is mostly bias.
    """
    expected = torch.tensor([plain(sample(200, 1000 + seed, shift)) for seed in range(300)]).double().mean().item()
    held = 0
    for seed in range(60):
        values = FrechetInterval(REFERENCE, resamples=60, level=0.8).score(sample(200, seed, shift))
        assert values["fd_low"] < values["fd_high"]
        held += values["fd_low"] <= expected <= values["fd_high"]
    assert fewest <= held <= most


def test_the_interval_narrows_with_the_root_of_n():
    widths = []
    for n in (100, 1600):
        values = FrechetInterval(REFERENCE).score(sample(n, 0, shift=1.0))
        widths.append(values["fd_high"] - values["fd_low"])
    assert 3 < widths[0] / widths[1] < 5.5


def test_the_interval_is_a_function_of_its_seed():
    torch.manual_seed(0)
    first = FrechetInterval(REFERENCE, resamples=5).score(sample(50, 0))
    torch.manual_seed(1)
    assert FrechetInterval(REFERENCE, resamples=5).score(sample(50, 0)) == first
    assert FrechetInterval(REFERENCE, resamples=5, seed=1).score(sample(50, 0)) != first


@pytest.mark.parametrize(
    "build",
    [
        lambda: FrechetInterval(level=1.0),
        lambda: FrechetInterval(resamples=1),
        lambda: FrechetInfinity(points=1),
        lambda: FrechetInfinity(smallest=1),
        lambda: FrechetInfinity(REFERENCE).score(sample(3, 0)),
    ],
)
def test_settings_without_a_meaning_are_refused(build):
    with pytest.raises(UserError):
        build()

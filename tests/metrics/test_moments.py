import math

import pytest
import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.metrics.moments import FeatureStatistics


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(features):
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics.compute()


def test_memory_does_not_grow_with_the_number_of_images():
    statistics = FeatureStatistics(4)
    size = sum(state.numel() for state in statistics.metric_state.values())
    statistics.update(normal(5000, 4))
    assert sum(state.numel() for state in statistics.metric_state.values()) == size


@pytest.mark.parametrize("sizes", [[1] * 100, [7, 0, 60, 33], [99, 1]], ids=str)
def test_streaming_equals_one_shot(sizes):
    features = 5 + normal(100, 16)
    statistics = FeatureStatistics(16)
    for batch in features.split(sizes):
        statistics.update(batch)
    n, mean, covariance = statistics.compute()
    assert n == 100
    torch.testing.assert_close(mean, features.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(covariance, torch.cov(features.T), rtol=1e-10, atol=1e-12)


def test_float32_features_are_summed_in_float64():
    features = (1000 + normal(4096, 4)).float()  # in float32, sums of squares of 1000 lose the variance of 1
    torch.testing.assert_close(moments_of(features).covariance, torch.cov(features.double().T), rtol=0, atol=1e-8)


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, lambda m: m.to(torch.bfloat16)])
def test_sums_stay_float64_under_casts(cast):
    module = nn.Module()
    module.linear, module.metric = nn.Linear(2, 2), FeatureStatistics(4)
    cast(module)
    assert module.linear.weight.dtype != torch.float32
    assert {module.metric.total.dtype, module.metric.outer.dtype} == {torch.float64}
    module.metric.reset()
    assert module.metric.outer.dtype == torch.float64


def test_sums_follow_the_device():
    assert FeatureStatistics(4).to("meta").outer.device.type == "meta"


def test_infinite_features_are_refused_with_their_count():
    features = normal(64, 4)
    features[3, 1], features[5, 0], features[5, 2] = math.nan, math.inf, math.nan
    statistics = FeatureStatistics(4)
    with pytest.raises(UserError, match="2 of 64 feature vectors"):
        statistics.update(features)
    assert statistics.n == 0


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_fewer_than_two_images_are_refused(n):
    statistics = FeatureStatistics(4)
    statistics.update(normal(n, 4))
    with pytest.raises(UserError, match=f"at least 2 images on each side, got {n}"):
        statistics.compute()

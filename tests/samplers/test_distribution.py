"""Every sampler of conf/, as it stands there, reproduces a distribution whose best denoiser is known."""

import pytest
import torch

from inkwash.metrics.frechet import frechet_distance
from inkwash.process.betas import linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.spacing import Karras, Trailing
from support.analytic import Ends, Exact, Mixture
from support.samplers import SAMPLERS, sampler_of

K, N = 8, 2000
DRAWS = torch.Generator().manual_seed(7)
POINTS = 1.6 * torch.rand(K, 1, 2, 2, generator=DRAWS, dtype=torch.float64) - 0.8
EVEN = torch.full((K,), 1 / K, dtype=torch.float64)
IMAGES = Mixture(EVEN, POINTS, torch.zeros(K, dtype=torch.float64))  # a finite data set
MIXTURE = Mixture(EVEN, POINTS, torch.full((K,), 0.05, dtype=torch.float64))
CASES = {
    "images on a chain": (IMAGES, BetaSchedule(linear(1000)), Karras(40)),
    "mixture on the straight path": (MIXTURE, FlowSchedule(), Trailing(50)),
    "mixture on EDM's path": (MIXTURE, EDMSchedule(), Trailing(50)),
}


def distance(data, images):
    x = images.flatten(1)
    return frechet_distance(x.mean(0), x.T.cov(), *data.moments())


@pytest.mark.parametrize(("data", "path", "spacing"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_frechet_distance_is_that_of_fresh_draws(name, data, path, spacing):
    """At most the largest of 100 sets of fresh draws; each of the points gets its share, within 5 standard errors."""
    draws = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(N, 1, 2, 2, generator=draws, dtype=torch.float64)

    if name == "consistency":
        images = sampler_of(name, Karras(2, sigma_min=0.821))(Ends(path, data), noise)
    else:
        images = sampler_of(name, spacing)(Exact(path, data), noise)
    fresh = [distance(data, data.sample(N, draws)) for _ in range(100)]
    assert distance(data, images) <= max(fresh), name
    nearest = torch.cdist(images.flatten(1), POINTS.flatten(1)).min(1)
    shares = nearest.indices.bincount(minlength=K) / N
    assert (shares - 1 / K).abs().max() < 5 * (1 / K * (1 - 1 / K) / N) ** 0.5
    if data is IMAGES:
        assert (nearest.values < 1e-3).double().mean() > 0.999

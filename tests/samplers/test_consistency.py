"""Consistency sampling with the exact function of a Gaussian, on any path."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.schedules import EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Trailing
from support.analytic import GaussianDenoiser, GaussianJump, f64
from support.samplers import sampler_of

MU, STD = 0.3, 0.5
X = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)


def images(denoiser, spacing, *noises):
    """What the sampler makes of given noises; the last step draws one in vain."""
    draw = iter([*(torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in noises), X[:1]])
    return sampler_of("consistency", spacing, clip=None)(denoiser, lambda: next(draw)).item()


@pytest.mark.parametrize("path", [EDMSchedule(), FlowSchedule(), VPSchedule()], ids=lambda path: type(path).__name__)
def test_one_step_returns_the_estimate(path):
    denoiser = GaussianDenoiser(path, MU, STD)  # any estimate
    drawn = sampler_of("consistency", Trailing(1), clip=None)(denoiser, lambda: X)
    start = path.prior_std(path.t_max) * X
    assert torch.equal(drawn, denoiser(start, torch.full((9,), path.t_max, dtype=torch.float64)).x_0)


def test_estimates_that_are_means_are_refused():
    sampler = sampler_of("consistency", Trailing(1))
    sampler.check_estimates(lambda: False)
    with pytest.raises(UserError, match="sampler: Consistency takes each estimate of x_0 for an image"):
        sampler.check_estimates(lambda: True)
    sampler_of("ddim", Trailing(1)).check_estimates(lambda: pytest.fail("no other sampler asks"))


@pytest.mark.parametrize("path", [EDMSchedule(), FlowSchedule()], ids=lambda path: type(path).__name__)
def test_mean_and_standard_deviation(path):
    """The result is affine in the noises: their factors are the exact function's, and the data's moments come out."""
    exact = GaussianJump(path, MU, STD, s=0.0)
    for steps, spacing in ((1, Trailing(1)), (2, Karras(2, sigma_min=0.821))):
        origin = [0.0] * steps
        mean = images(exact, spacing, *origin)
        units = [[float(i == j) for j in range(steps)] for i in range(steps)]
        factors = f64(*(images(exact, spacing, *unit) - mean for unit in units))
        first = float(path.sigma_over_alpha(spacing(path)[:1]))
        inflow = MU, STD * (1 + (STD / first) ** 2) ** -0.5  # of the first estimate, whose start has mean 0
        expected = [MU - STD * MU / (STD**2 + first**2) ** 0.5, inflow[1]]
        if steps == 2:
            shrink = STD / (STD**2 + 0.821**2) ** 0.5
            expected = [MU + shrink * (expected[0] - MU), shrink * (expected[1] ** 2 + 0.821**2) ** 0.5]
        assert mean == pytest.approx(expected[0], abs=1e-9)
        assert factors.norm().item() == pytest.approx(expected[1], abs=1e-9)
        assert (mean, factors.norm().item()) == (pytest.approx(MU, abs=2e-3), pytest.approx(STD, abs=1e-4))

"""Bounds on estimates of x_0, and what sampler.clip may be."""

import pytest
import torch
from diffusers import DDIMScheduler

from inkwash.config.instantiate import build
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.betas import linear
from inkwash.process.predictions import Eps
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Trailing
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.clipping import DynamicThreshold, StaticClip
from inkwash.samplers.ddim import DDIM
from support.samplers import sampler_of

X_0 = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [0.1, 0.5, 1.0, 3.0, 30.0]
).view(-1, 1, 1, 1)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_threshold_is_diffusers(quantile):
    """Their sample_max_value, which the paper does not have and which is 1 unless set, bounds s from above."""
    scheduler = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=quantile, sample_max_value=1e9)
    torch.testing.assert_close(DynamicThreshold(quantile)(X_0), scheduler._threshold_sample(X_0))


def test_dynamic_threshold_scales_each_image_by_its_own():
    found = DynamicThreshold(0.9)(X_0)
    assert torch.equal(found[0], X_0[0])  # nothing beyond 1
    assert found.abs().amax(dim=(1, 2, 3))[2:].tolist() == [1.0, 1.0, 1.0]
    share = (found[4].abs() == 1).double().mean().item()
    assert share == pytest.approx(0.1, abs=0.01)  # static clipping leaves 97% of them at the bound
    assert (StaticClip(1.0)(X_0)[4].abs() == 1).double().mean().item() > 0.9


class Loud(torch.nn.Module):
    """An untrained network under strong guidance."""

    def forward(self, x, time, y=None):
        return 5 * torch.sin(3 * x)


LINEAR = BetaSchedule(linear(1000))
DENOISER = Denoiser(Loud(), LINEAR, Eps())


@pytest.mark.parametrize("clip", [1.0, DynamicThreshold(0.9)])
def test_eps_follows_the_bounded_x_0(clip):
    x_t, t = torch.randn(5, 3, 8, 8, dtype=torch.float64), torch.full((5,), 600.0)
    estimate = DENOISER(x_t, t)
    x_0, eps = DDIM(Trailing(5), clip=clip).clipped(LINEAR, estimate, x_t, t)
    alpha, sigma = LINEAR(t)
    assert x_0.abs().max() <= 1 < estimate.x_0.abs().max()
    torch.testing.assert_close(alpha * x_0 + sigma * eps, x_t)
    kept = DDIM(Trailing(5), clip=clip, rederive_eps=False).clipped(LINEAR, estimate, x_t, t)
    assert torch.equal(kept.eps, estimate.eps)
    assert torch.equal(kept.x_0, x_0)


def test_images_stay_in_bounds():
    noise = ImageNoise(0, range(4), (3, 4, 4))
    assert DDIM(Trailing(10), clip=0.25)(DENOISER, noise).abs().max() <= 0.25 + 1e-6
    assert sampler_of("ddim_dynamic", Trailing(10))(DENOISER, noise).abs().max() <= 1
    assert DDIM(Trailing(10), clip=None)(DENOISER, noise).abs().max() > 2


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(("override", "kind"), [
    ("sampler.clip=1.0", StaticClip),
    ("sampler.clip=2", StaticClip),
    ("sampler.clip=null", type(None)),
    ("sampler.clip={_target_: inkwash.samplers.clipping.DynamicThreshold, quantile: 0.9}", DynamicThreshold),
])  # fmt: skip
@pytest.mark.parametrize("name", ["ancestral", "ddim_dynamic"])
def test_what_a_command_line_may_say(name, override, kind, compose_config):
    assert isinstance(build(compose_config(f"sampler={name}", override)["sampler"]).clip, kind)


@pytest.mark.parametrize(("clip", "message"), [
    (0, "sampler.clip=0 must be positive, or null for no clipping"),
    (-1.0, "sampler.clip=-1 must be positive"),
    ("none", "sampler.clip=none must be a number, null, or a class of inkwash.samplers.clipping"),
])  # fmt: skip
def test_bad_bounds_are_refused(clip, message):
    with pytest.raises(UserError, match=message):
        DDIM(Trailing(5), clip=clip)


@pytest.mark.parametrize("quantile", [0.0, 1.5])
def test_bad_quantiles_are_refused(quantile):
    with pytest.raises(UserError, match="sampler.clip.quantile"):
        DynamicThreshold(quantile)

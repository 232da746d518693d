"""Samplers against exact answers on Gaussian data, and step for step against diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.predictions import Eps
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.spacing import Leading, Trailing
from inkwash.process.variances import FixedLarge, FixedSmall
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import ImageNoise, Sampling
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate, labels_for

MU, S = 0.3, 0.5
LINEAR = BetaSchedule(linear(1000))
PATHS = {"linear": LINEAR, "cosine": BetaSchedule(cosine(1000)), "flow": FlowSchedule()}


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- On Gaussian data, where the best denoiser is known ---------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_ddim_converges_to_the_ode_with_first_order(path, gaussian_denoiser):
    """The ODE takes x to mu alpha_s + (x - mu alpha_t) std_s / std_t; halving the steps halves the error."""
    x_T = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    alpha, sigma = path(f64(path.t_max))
    x_t = path.prior_std(path.t_max) * x_T
    exact = MU + (x_t - alpha * MU) * S / (alpha**2 * S**2 + sigma**2).sqrt()
    errors = []
    for steps in (50, 100, 200):
        found = DDIM(Trailing(steps), clip=None)(gaussian_denoiser(path, MU, S), lambda: x_T)
        errors.append((found - exact).abs().max().item())
    ratios = [errors[i] / errors[i + 1] for i in range(2)]
    assert errors[-1] < 0.02
    assert all(1.7 < ratio < 2.4 for ratio in ratios), errors


N = 40_000
STEPS = {
    "ddim": lambda k: DDIM(Trailing(k), clip=None),
    "ddim eta 1": lambda k: DDIM(Trailing(k), eta=1.0, clip=None),
    "ancestral large": lambda k: Ancestral(Trailing(k), FixedLarge(), clip=None),
    "ancestral small": lambda k: Ancestral(Trailing(k), FixedSmall(), clip=None),
}


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)
def test_samples_have_the_datas_mean_and_variance(make, gaussian_denoiser, pixel_noise):
    """Within 5 standard errors plus the discretisation error, which shrinks with the steps."""
    errors = []
    for steps in (10, 200):
        x = make(steps)(gaussian_denoiser(LINEAR, MU, S), pixel_noise(N))
        errors.append((abs(x.mean().item() - MU), abs(x.var().item() / S**2 - 1)))
    (_, coarse), (mean, fine) = errors
    assert mean < 5 * S / N**0.5 + 0.005
    assert fine < 5 * (2 / N) ** 0.5 + 0.05
    assert fine < coarse


@pytest.mark.parametrize(("variance", "s"), [(FixedLarge(), 1.0), (FixedSmall(), 0.0)])
def test_fixed_variances_are_exact_where_theory_says(variance, s, gaussian_denoiser, pixel_noise):
    """Ho et al. 2020, section 3.2: beta_t is optimal for x_0 ~ N(0, I), beta tilde_t for a point mass.

    Checked at every time of a chain of 20 steps: x_t must have the exact marginal's mean and variance.
    """
    path = BetaSchedule(linear(20, beta_end=0.6))
    mu = 0.0 if s == 1.0 else 0.7
    sampler, denoiser, noise = (
        Ancestral(Trailing(None), variance, clip=None),
        gaussian_denoiser(path, mu, s),
        pixel_noise(N),
    )
    run = Sampling(path, lambda x, t: denoiser(x, t), noise)
    alpha, sigma = path(f64(20))
    x = alpha * mu + (alpha**2 * s**2 + sigma**2).sqrt() * noise()
    for t in range(20, 1, -1):
        x = sampler.step(x, f64(t).expand(N), f64(t - 1).expand(N), run)
        alpha, sigma = (c.item() for c in path(f64(t - 1)))
        true = alpha**2 * s**2 + sigma**2
        assert x.mean().item() == pytest.approx(alpha * mu, abs=5 * (true / N) ** 0.5), t
        assert x.var().item() == pytest.approx(true, rel=5 * (2 / N) ** 0.5), t


# --- Against diffusers ------------------------------------------------------------------------------------------------


def in_float64(scheduler):
    """Their float32 tables cost four digits at t = 1; with float64 ones the formulas themselves compare."""
    scheduler.betas = linear(1000)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.one = f64(1.0)[0]
    scheduler.final_alpha_cumprod = f64(1.0)[0]
    return scheduler


class FixedEps(nn.Module):
    """A network whose output depends on x and t, cheaply."""

    def forward(self, x, time, y=None):
        return torch.sin(3 * x) + 0.1 * torch.cos(time / 100).view(-1, 1, 1, 1).to(x)


DENOISER = Denoiser(FixedEps(), LINEAR, Eps())


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("t", [999, 500, 1])
def test_ancestral_step_equals_diffusers(t, variance, clip):
    scheduler = in_float64(DDPMScheduler(variance_type=variance, clip_sample=clip))
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    output = FixedEps()(x, torch.full((4,), float(t)))
    theirs = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(3)).prev_sample
    sampler = Ancestral(
        Trailing(None), {"fixed_small": FixedSmall(), "fixed_large": FixedLarge()}[variance], clip=1.0 if clip else None
    )
    ours = one_step(sampler, x, t + 1, t, z)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_last_ancestral_step_is_the_mean():
    x, z = torch.randn(2, 4, 3, 4, 4)
    sampler = Ancestral(Trailing(None), FixedLarge())
    assert torch.equal(one_step(sampler, x, 1, 0, z), one_step(sampler, x, 1, 0, 0 * z))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rederive", [True, False])
def test_ddim_chain_equals_diffusers(eta, rederive):
    """20 steps, `leading`, with clipping: improved-diffusion's eps and diffusers' default."""
    scheduler = in_float64(DDIMScheduler(timestep_spacing="leading", clip_sample=True, set_alpha_to_one=True))
    scheduler.set_timesteps(20)
    noises = torch.randn(21, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = noises[0]
    for k, t in enumerate(scheduler.timesteps):
        output = FixedEps()(x, t.float().expand(2))
        step = {"eta": eta, "use_clipped_model_output": rederive, "variance_noise": noises[k + 1] if eta else None}
        x = scheduler.step(output, t, x, **step).prev_sample
    feed = iter(noises)
    ours = DDIM(Leading(20), eta=eta, rederive_eps=rederive)(DENOISER, lambda: next(feed))
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


def one_step(sampler, x, t, s, z):
    def denoise(x_t, time):
        estimate = DENOISER(x_t, time)
        return estimate if sampler.clip is None else sampler._clip(LINEAR, estimate, x_t, time)

    times = (torch.full((len(x),), float(v), dtype=torch.float64) for v in (t, s))
    return sampler.step(x, *times, Sampling(LINEAR, denoise, lambda: z))


# --- Noise, batches and labels ----------------------------------------------------------------------------------------


def run_series(indices, batch_size, sampler, seed=0):
    batches = generate(DENOISER, sampler, (3, 4, 4), indices, None, 1.0, seed, batch_size)
    return torch.cat([images for _, images in batches])


@pytest.mark.parametrize("sampler", [DDIM(Trailing(5), eta=1.0), Ancestral(Trailing(5), FixedLarge())])
def test_image_i_is_the_same_at_any_batch_size_and_on_any_rank(sampler):
    whole = run_series(range(12), 12, sampler)
    assert torch.equal(whole, run_series(range(12), 5, sampler))
    for world in (2, 3):
        ranks = [run_series(range(rank, 12, world), 4, sampler) for rank in range(world)]
        merged = torch.empty_like(whole)
        for rank, images in enumerate(ranks):
            merged[rank::world] = images
        assert torch.equal(whole, merged)
    assert not torch.equal(whole, run_series(range(12), 12, sampler, seed=1))


def test_sampling_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    run_series(range(3), 3, DDIM(Trailing(3), eta=1.0))
    assert torch.equal(before, torch.get_rng_state())


def test_noise_of_an_image_goes_on():
    noise = ImageNoise(0, [7], (1, 2, 2))
    assert not torch.equal(noise(), noise())


def test_clipping_bounds_x_0():
    x = DDIM(Trailing(10), clip=0.25)(DENOISER, ImageNoise(0, range(4), (3, 4, 4)))
    assert x.abs().max() <= 0.25 + 1e-6


def test_progress_is_told_of_every_step():
    calls = []
    DDIM(Trailing(7))(DENOISER, ImageNoise(0, range(2), (3, 4, 4)), on_step=lambda: calls.append(1))
    assert len(calls) == 7


def test_labels_fill_columns():
    assert labels_for(range(5), 3).tolist() == [0, 1, 2, 0, 1]
    assert labels_for(range(5), None) is None


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="sampler.eta=-1"):
        DDIM(Trailing(5), eta=-1)
    with pytest.raises(UserError, match="sampler.clip=0"):
        DDIM(Trailing(5), clip=0)

"""Step for step against diffusers, whose schedulers are made to compute in float64, so that formulas compare."""

import importlib
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.process.betas import linear
from inkwash.process.predictions import Eps
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Leading, Linspace, Spacing, Trailing
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import Sampling
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.dpm_solver import DPMSolverPP2M, DPMSolverPP2MSDE, DPMSolverPP3M
from inkwash.samplers.heun import Heun
from inkwash.samplers.inversion import invert
from inkwash.samplers.unipc import UniPC
from support.analytic import f64

BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}  # not every scheduler's default
LINEAR = BetaSchedule(linear(1000))
SPACINGS = {"leading": Leading, "trailing": Trailing, "linspace": Linspace}
MODULES = ("ddim", "ddim_inverse", "ddpm", "dpmsolver_multistep", "euler_discrete", "heun_discrete", "unipc_multistep")
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    """Their tables are float32 by name, which costs four digits at t = 1."""
    for module in (importlib.import_module(f"diffusers.schedulers.scheduling_{name}") for name in MODULES):
        for library, float64 in (("torch", torch.float64), ("np", np.float64)):
            namespace = {**vars(getattr(module, library)), "float32": float64}
            monkeypatch.setattr(module, library, SimpleNamespace(**namespace))


class Wave(nn.Module):
    """A network whose output depends on x and t, cheaply; with a second head for a learned variance."""

    def __init__(self, learned=False, blind=False):
        super().__init__()
        self.learned, self.blind = learned, blind

    def forward(self, x, time, y=None):
        wave = torch.sin(3 * x) + (0 if self.blind else 0.1) * torch.cos(time.double() / 100).view(-1, 1, 1, 1)
        return torch.cat([wave, torch.cos(2 * x)], dim=1) if self.learned else wave


DENOISER = Denoiser(Wave(), LINEAR, Eps())
NOISE = torch.randn(21, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Theirs(Spacing):
    """The times of one of their schedulers."""

    def __init__(self, scheduler):
        super().__init__(len(scheduler.timesteps.unique()))
        self.listed = scheduler.timesteps.double().unique().flip(0) + 1

    def times(self, schedule, steps):
        return self.listed


def ours(sampler, denoiser=DENOISER):
    feed = iter(NOISE)
    return sampler(denoiser, lambda: next(feed))


def theirs(scheduler, start=NOISE[0], net=DENOISER.net, **step):
    """Their loop; NOISE for those that want noise."""
    x = start
    for k, t in enumerate(scheduler.timesteps):
        if "variance_noise" in step:
            step["variance_noise"] = NOISE[k + 1]
        x = scheduler.step(net(scheduler.scale_model_input(x, t), t.double().expand(2)), t, x, **step).prev_sample
    return x


@pytest.mark.parametrize(("steps", "spacing"), [
    (20, "leading"), (20, "trailing"), (10, "linspace"), (7, "leading"), (7, "trailing"), (13, "linspace"),
])  # fmt: skip
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta, spacing, steps):
    """Theirs steps from t to t - T // N whatever its list says next; told the list's own gaps, it goes our way."""
    scheduler = DDIMScheduler(**BETAS, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    gaps = (-torch.diff(scheduler.timesteps, append=torch.tensor([-1]))).tolist()
    step = {"eta": eta, "use_clipped_model_output": True, "variance_noise": None}
    found = ours(DDIM(SPACINGS[spacing](steps), eta=eta))
    x = NOISE[0]
    for k, (t, gap) in enumerate(zip(scheduler.timesteps, gaps, strict=True)):
        scheduler.num_inference_steps = Fraction(1000, gap)
        step["variance_noise"] = NOISE[k + 1] if eta else None
        x = scheduler.step(DENOISER.net(x, t.double().expand(2)), t, x, **step).prev_sample
    torch.testing.assert_close(found, x, **CLOSE)

    scheduler.set_timesteps(steps)
    untold = theirs(scheduler, **step) if eta else theirs(scheduler, eta=eta, use_clipped_model_output=True)
    assert torch.allclose(found, untold, **CLOSE) == (set(gaps[:-1]) == {1000 // steps})


def test_ddim_keeps_the_networks_eps_if_told():
    scheduler = DDIMScheduler(**BETAS)
    scheduler.set_timesteps(20)
    torch.testing.assert_close(ours(DDIM(Leading(20), rederive_eps=False)), theirs(scheduler), **CLOSE)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_euler_is_ddim_without_noise(spacing):
    """What sampler=euler stands for; theirs steps in x / alpha and sigma / alpha, and does not clip."""
    scheduler = EulerDiscreteScheduler(**BETAS, timestep_spacing=spacing)
    scheduler.set_timesteps(10)
    found = ours(DDIM(SPACINGS[spacing](10), eta=0.0, clip=None))
    alpha, _ = LINEAR(scheduler.timesteps[:1] + 1)
    torch.testing.assert_close(found, theirs(scheduler, NOISE[0] / alpha), **CLOSE)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_heun(spacing, clip):
    scheduler = HeunDiscreteScheduler(**BETAS, timestep_spacing=spacing, clip_sample=clip is not None)
    scheduler.set_timesteps(10)
    alpha, _ = LINEAR(scheduler.timesteps[:1] + 1)
    found = ours(Heun(Theirs(scheduler), clip=clip))
    torch.testing.assert_close(found, theirs(scheduler, NOISE[0] / alpha), **CLOSE)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("cls", "options"), [
    (DPMSolverPP2M, {"solver_order": 2, "euler_at_final": True}),
    (DPMSolverPP2MSDE, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}),
])  # fmt: skip
def test_dpm_solver_2m(cls, options, spacing):
    scheduler = DPMSolverMultistepScheduler(**BETAS, timestep_spacing=spacing, final_sigmas_type="zero", **options)
    scheduler.set_timesteps(20)
    x = theirs(scheduler, **({"variance_noise": None} if cls is DPMSolverPP2MSDE else {}))
    torch.testing.assert_close(ours(cls(Theirs(scheduler), clip=None)), x, **CLOSE)


class Mended(DPMSolverMultistepScheduler):
    """With the whole second difference: its weight there is half of what the integral of exp(lambda) x_0 has."""

    def multistep_dpm_solver_third_order_update(self, seen, sample=None, noise=None):
        sigma = self.sigmas[self.step_index - 2 : self.step_index + 2]
        l_2, l_1, l_0, l_s = -sigma.log()
        h = l_s - l_0
        slope, before = (seen[-1] - seen[-2]) / (l_0 - l_1), (seen[-2] - seen[-3]) / (l_1 - l_2)
        missing = h**2 * (slope - before) / (l_0 - l_2) * (0.5 - (torch.expm1(-h) + h) / h**2)
        alpha, _ = self._sigma_to_alpha_sigma_t(sigma[-1])
        return super().multistep_dpm_solver_third_order_update(seen, sample=sample) + alpha * missing


@pytest.mark.parametrize("spacing", SPACINGS)
def test_dpm_solver_3m(spacing):
    """12 steps: from 15 on, theirs no longer lowers the order of the last step but one."""
    scheduler = Mended(**BETAS, timestep_spacing=spacing, solver_order=3, final_sigmas_type="zero")
    scheduler.set_timesteps(12)
    torch.testing.assert_close(ours(DPMSolverPP3M(Theirs(scheduler), clip=None)), theirs(scheduler), **CLOSE)


@pytest.mark.parametrize(("cls", "order"), [(DPMSolverMultistepScheduler, 2), (Mended, 3)])
def test_half_a_second_difference_makes_a_method_of_order_two(cls, order):
    """On N(0, 1/4) with alpha = 1 / sqrt(1 + sigma^2), and the exact solution at the first three times."""
    errors = []
    for steps in (80, 160):
        scheduler = cls(solver_order=3)
        scheduler.sigmas = sigma = torch.logspace(1, -1, steps + 1, dtype=torch.float64)
        exact = ((0.25 + sigma**2) / (1 + sigma**2)).sqrt()
        gain = 0.25 / (0.25 + sigma**2) * (1 + sigma**2).sqrt()  # x_0 = gain x_t
        x, seen = exact[2], list((gain * exact)[:2])
        for k in range(2, steps):
            scheduler._step_index = k
            seen.append(gain[k] * x)
            x = scheduler.multistep_dpm_solver_third_order_update(seen[-3:], sample=x)
        errors.append((x - exact[-1]).abs().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2), errors


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_unipc(spacing, order):
    scheduler = UniPCMultistepScheduler(
        **BETAS, timestep_spacing=spacing, solver_order=order, final_sigmas_type="zero", solver_type="bh2"
    )
    scheduler.set_timesteps(20)
    torch.testing.assert_close(ours(UniPC(Theirs(scheduler), order, clip=None)), theirs(scheduler), **CLOSE)


VARIANCES = {
    "fixed_small": FixedSmall(), "fixed_small_log": FixedSmall(), "fixed_large": FixedLarge(),
    "learned_range": LearnedRange(),
}  # fmt: skip


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("name", "variance"), VARIANCES.items(), ids=VARIANCES)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_ancestral(clip, variance, name, spacing, monkeypatch):
    """20 steps of 1000. Theirs leaves out the last noise only where it ends at index 0, so `trailing` is given none.

    Their fixed_large_log is no reference: it takes the root of a logarithm.
    """
    scheduler = DDPMScheduler(**BETAS, timestep_spacing=spacing, variance_type=name, clip_sample=clip is not None)
    scheduler.set_timesteps(20)
    net, feed = Wave(learned=variance.learned), iter([*NOISE[1:20], 0 * NOISE[0]])
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(feed))
    found = ours(Ancestral(SPACINGS[spacing](20), variance, clip=clip), Denoiser(net, LINEAR, Eps()))
    torch.testing.assert_close(found, theirs(scheduler, net=net), **CLOSE)


@pytest.mark.parametrize(("name", "variance"), VARIANCES.items(), ids=VARIANCES)
@pytest.mark.parametrize("t", [999, 500, 1, 0])
def test_ancestral_step_of_the_whole_chain(t, variance, name, monkeypatch):
    scheduler, net = DDPMScheduler(**BETAS, variance_type=name), Wave(learned=variance.learned)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: NOISE[1])
    x = scheduler.step(net(NOISE[0], f64(t)), t, NOISE[0]).prev_sample
    sampler, denoiser = Ancestral(Trailing(None), variance), Denoiser(net, LINEAR, Eps())

    def denoise(x_t, time):
        return sampler.clipped(LINEAR, denoiser(x_t, time), x_t, time)

    run = Sampling(LINEAR, f64(t + 1, t), denoise, lambda: NOISE[1])
    found = sampler.step(NOISE[0], f64(t + 1).expand(2), f64(t).expand(2), run)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_inversion(spacing):
    """Theirs asks the network for eps at the time it goes to: the same thing for a network blind to time."""
    scheduler = DDIMInverseScheduler(**BETAS, timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(20)
    net = Wave(blind=True)
    found = invert(Denoiser(net, LINEAR, Eps()), SPACINGS[spacing](20), NOISE[0])
    torch.testing.assert_close(found, theirs(scheduler, net=net), **CLOSE)

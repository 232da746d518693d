"""From images to codes and back, on Gaussian data and on a network that answers anything."""

import math

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.editing.codecs import Inverting, Noising, Painter, Tail
from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.spacing import Karras, Trailing
from inkwash.process.variances import FixedLarge, FixedSmall
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.dpm_solver import DPMSolverPP2M

MU, S, N = 0.3, 0.5, 20_000
PATHS = {
    "linear": (BetaSchedule(linear(1000)), Trailing),
    "cosine": (BetaSchedule(cosine(1000)), Trailing),
    "flow": (FlowSchedule(), Trailing),
    "edm": (EDMSchedule(), Karras),
}


class Wave(nn.Module):
    def forward(self, x, time, y=None):
        return torch.sin(3 * x) + 0.1 * torch.cos(time / 100).view(-1, 1, 1, 1).to(x)


def noise(seed=0, n=4):
    return ImageNoise(seed, range(n), (1, 4, 4))


def pictures(n=4):
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(9)) * 2 - 1


# --- How much of the way ----------------------------------------------------------------------------------------------


def test_tail_is_the_last_steps():
    chain = PATHS["linear"][0]
    assert Tail(Trailing(10), 0.3)(chain).tolist() == [300, 200, 100, 0]
    assert Tail(Trailing(10), 1.0)(chain).tolist() == Trailing(10)(chain).tolist()
    assert Tail(Trailing(10), 0.001)(chain).tolist() == [100, 0]


@pytest.mark.parametrize("strength", [0, -0.5, 1.01, float("nan")])
def test_strength_is_a_share(strength):
    for codec in (Noising, Inverting):
        with pytest.raises(UserError, match=r"task.strength=.* must lie above 0 and be at most 1"):
            codec(strength)


# --- Noising ----------------------------------------------------------------------------------------------------------

SAMPLERS = {
    "ddim": lambda spacing: DDIM(spacing),
    "ancestral": lambda spacing: Ancestral(spacing, FixedLarge()),
    "dpmpp_2m": lambda spacing: DPMSolverPP2M(spacing),
}


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_strength_one_is_plain_sampling_bit_for_bit(make, path, spacing):
    painter, draws = Painter(Denoiser(Wave(), path, V()), make(spacing(10))), noise()
    codec = Noising(1.0)
    edited = codec.decode(painter, codec.encode(painter, pictures(), draws, None), draws, None)
    assert torch.equal(edited, painter(noise(), None))


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
def test_strength_towards_zero_returns_the_image(path, spacing):
    errors = []
    for strength in (0.8, 0.4, 0.1, 0.01, 0.001):
        painter, draws, codec = Painter(Denoiser(Wave(), path, V()), DDIM(spacing(1000))), noise(), Noising(strength)
        edited = codec.decode(painter, codec.encode(painter, pictures(), draws, None), draws, None)
        errors.append((edited - pictures()).square().mean().sqrt().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert errors[-1] < 0.02


def test_the_code_is_a_draw_of_q_at_t(gaussian_denoiser, pixel_noise):
    """And the sampler's way back is p(x_0' | x_t), for Gaussian data a known Gaussian around the image."""
    path, draws, x_0 = PATHS["linear"][0], pixel_noise(N), torch.full((N, 1, 1, 1), 1.0, dtype=torch.float64)
    painter = Painter(gaussian_denoiser(path, MU, S), Ancestral(Trailing(1000), FixedSmall(), clip=None))
    codec = Noising(0.3)
    z = codec.encode(painter, x_0, draws, None)
    alpha, sigma = (float(c) for c in path(torch.tensor([300.0])))
    assert z.mean().item() == pytest.approx(alpha, abs=5 * sigma / N**0.5)
    assert z.std().item() == pytest.approx(sigma, rel=5 / (2 * N) ** 0.5)
    back = codec.decode(painter, z, draws, None)
    gain = alpha * S**2 / (alpha**2 * S**2 + sigma**2)
    mean, variance = MU + gain * alpha * (1 - MU), (gain * sigma) ** 2 + S**2 * (1 - gain * alpha)
    assert back.mean().item() == pytest.approx(mean, abs=5 * (variance / N) ** 0.5 + 2e-3)
    assert back.var().item() == pytest.approx(variance, rel=5 * (2 / N) ** 0.5 + 1e-2)


# --- Inverting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATHS["linear"][0], PATHS["flow"][0]], ids=["linear", "flow"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_round_trips_error_falls_with_the_steps(strength, path, gaussian_denoiser):
    """With first order: it halves when they double."""
    x_0, errors = torch.linspace(-1, 1, 9, dtype=torch.float64).view(-1, 1, 1, 1), []
    for steps in (50, 100, 200):
        # The sampler itself is of no account, only its times are.
        painter = Painter(gaussian_denoiser(path, MU, S), Ancestral(Trailing(steps), FixedLarge()))
        codec = Inverting(strength)
        back = codec.decode(painter, codec.encode(painter, x_0, lambda: x_0, None), lambda: x_0, None)
        errors.append((back - x_0).abs().max().item())
    assert errors[-1] < 0.04
    assert [math.log2(errors[i] / errors[i + 1]) for i in range(2)] == pytest.approx([1, 1], abs=0.3), errors


# --- Between two codes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [Noising(0.5), Inverting(1.0)], ids=["line", "circle"])
def test_the_ends_are_the_two_codes_themselves(codec):
    a, b = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for share, end in ((0.0, a), (1.0, b)):
        assert torch.equal(codec.between(a, b, torch.full((3, 1, 1, 1), share, dtype=torch.float64)), end)
    same = codec.between(a, a, torch.full((3, 1, 1, 1), 0.3, dtype=torch.float64))
    torch.testing.assert_close(same, a)


def test_the_line_is_straight_and_the_circle_keeps_the_length():
    a, b = torch.zeros(2, 1, 1, 1, 2, dtype=torch.float64)
    a[..., 0], b[..., 1] = 2, 2
    third = torch.full((1, 1, 1, 1), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(Noising(0.5).between(a, b, third).flatten().tolist(), [4 / 3, 2 / 3])
    torch.testing.assert_close(Inverting(1.0).between(a, b, third).flatten().tolist(), [3**0.5, 1.0])


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
def test_codes_are_shown_with_the_range_of_images(path, spacing):
    """Unit images and unit noise give a unit picture, at any time of any path."""
    painter, n = Painter(Denoiser(Wave(), path, V()), DDIM(spacing(20))), 4000
    for strength in (0.1, 0.6):
        codec, draws = Noising(strength), ImageNoise(0, range(n), (1, 1, 1))
        x_0 = torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(3))
        shown = codec.visible(painter, codec.encode(painter, x_0, draws, None))
        assert shown.std().item() == pytest.approx(1, abs=5 / (2 * n) ** 0.5)

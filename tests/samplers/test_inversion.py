"""Encoding images to the noise that DDIM makes them from."""

import pytest
import torch
from torch import nn

from inkwash.denoiser import Estimate
from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Leading, Trailing
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.inversion import invert
from support.analytic import Exact, Mixture, f64

GAUSSIAN = Mixture(f64(1.0), f64(0.3).view(1, 1, 1, 1), f64(0.5))
X_0 = torch.linspace(-1, 1, 9, dtype=torch.float64).view(-1, 1, 1, 1)
PATHS = {
    "linear": (BetaSchedule(linear(4000, scale_with_T=True)), Leading),
    "cosine": (BetaSchedule(cosine(4000)), Leading),
    "flow": (FlowSchedule(), Leading),
    "vp": (VPSchedule(), Leading),
    "edm": (EDMSchedule(), Karras),
}


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
def test_round_trip_error_falls_with_first_order(path, spacing):
    errors = []
    for steps in (100, 200):
        z = invert(Exact(path, GAUSSIAN), spacing(steps), X_0)
        errors.append((DDIM(spacing(steps), clip=None)(Exact(path, GAUSSIAN), lambda z=z: z) - X_0).abs().max().item())
    assert errors[1] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2), errors


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
def test_data_is_encoded_to_the_priors_noise(path, spacing):
    """x_0 = mu + s z comes from z, up to what the path keeps of the signal."""
    z = invert(Exact(path, GAUSSIAN), spacing(400), X_0)
    times = spacing(400)(path)
    alpha, sigma = path(times[:1])
    noisy = alpha * 0.3 + (alpha**2 * 0.25 + sigma**2).sqrt() * (X_0 - 0.3) / 0.5
    torch.testing.assert_close(z, noisy / path.prior_std(float(times[0])), rtol=0.03, atol=0.03)


def test_a_step_is_improved_diffusions():
    """ddim_reverse_sample: x_0 and eps found at x_s, put together at t (Song et al. 2020, eq. 12, reversed)."""
    path, spacing = BetaSchedule(linear(1000)), Trailing(4)

    class Net(nn.Module):
        schedule = path

        def forward(self, x_t, t, y=None):
            alpha, sigma = path(t)
            eps = torch.sin(3 * x_t) + t.view(-1, 1, 1, 1) / 1000 + y.view(-1, 1, 1, 1)
            return Estimate((x_t - sigma * eps) / alpha, eps)

    y = torch.arange(9)
    alpha_bar = (1 - linear(1000)).cumprod(0)
    x = X_0
    for k, (index, target) in enumerate([(249, 249), (249, 499), (499, 749), (749, 999)]):
        eps = torch.sin(3 * x) + (index + 1) / 1000 + y.view(-1, 1, 1, 1)
        x_0 = x if k == 0 else (x - (1 - alpha_bar[index]).sqrt() * eps) / alpha_bar[index].sqrt()
        x = alpha_bar[target].sqrt() * x_0 + (1 - alpha_bar[target]).sqrt() * eps
    torch.testing.assert_close(invert(Net(), spacing, X_0, y), x, rtol=1e-10, atol=1e-10)

"""Denoisers decode the network's output, refuse ill-posed pairs and guide."""

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser, GuidedDenoiser, guided
from inkwash.errors import UserError
from inkwash.process.betas import linear
from inkwash.process.forward import q_sample
from inkwash.process.predictions import X0, Eps, Flow, V
from inkwash.process.schedules import BetaSchedule, FlowSchedule

SCHEDULE = BetaSchedule(linear(1000))


class Answer(nn.Module):
    """A network that returns a fixed tensor, or the label everywhere."""

    def __init__(self, value=None):
        super().__init__()
        self.value = value

    def forward(self, x, time, y=None):
        return y.view(-1, 1, 1, 1).to(x).expand_as(x) if self.value is None else self.value


@pytest.mark.parametrize("prediction", [Eps(), X0(), V()], ids=lambda p: p.name)
def test_a_perfect_network_gives_back_x_0_and_eps(prediction):
    x_0, eps = torch.randn(2, 4, 1, 2, 2, dtype=torch.float64)
    t = torch.tensor([1.0, 10, 500, 1000], dtype=torch.float64)
    y = prediction.target(x_0, eps, *SCHEDULE(t))
    found = Denoiser(Answer(y), SCHEDULE, prediction)(q_sample(SCHEDULE, x_0, t, eps), t)
    torch.testing.assert_close(torch.stack([*found]), torch.stack([x_0, eps]), rtol=1e-8, atol=1e-8)


def test_network_sees_ddpms_index():
    seen = []

    class Spy(nn.Module):
        def forward(self, x, time, y=None):
            seen.append(time)
            return x

    Denoiser(Spy(), SCHEDULE, V())(torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 1000.0]))
    assert seen[0].tolist() == [0, 999]
    assert seen[0].dtype == torch.float32


def test_half_precision_output_is_decoded_in_float32():
    x_0, eps = Denoiser(Answer(torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)), SCHEDULE, V())(
        torch.ones(1, 1, 2, 2), torch.tensor([500.0])
    )
    assert x_0.dtype == eps.dtype == torch.float32


def test_ill_posed_pairs_are_refused_in_a_sentence():
    with pytest.raises(UserError, match="prediction=eps is ill-posed .* t=1 .* prediction=v"):
        Denoiser(nn.Identity(), FlowSchedule(), Eps())
    terminal = BetaSchedule(torch.cat([linear(1000)[:-1], torch.ones(1, dtype=torch.float64)]))
    with pytest.raises(UserError, match="ill-posed .* t=1000"):
        Denoiser(nn.Identity(), terminal, Eps())


@pytest.mark.parametrize(("schedule", "prediction"), [(FlowSchedule(), p) for p in (Flow(), V(), X0())])
def test_well_posed_pairs_are_built(schedule, prediction):
    assert Denoiser(nn.Identity(), schedule, prediction).prediction is prediction


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_guidance_extrapolates_from_unconditional_to_conditional(scale):
    """The network answers its label: c = 3, and -1 where it has none."""
    denoiser = Denoiser(Answer(), SCHEDULE, X0())
    x_t, t, y = torch.zeros(2, 1, 2, 2), torch.tensor([500.0, 20.0]), torch.tensor([3, 3])
    x_0, eps = GuidedDenoiser(denoiser, scale)(x_t, t, y)
    torch.testing.assert_close(x_0, torch.full_like(x_0, -1 + scale * (3 + 1)))
    alpha, sigma = SCHEDULE(t)
    torch.testing.assert_close(eps, (-alpha / sigma).float() * x_0)


def test_scale_one_costs_nothing():
    denoiser = Denoiser(Answer(), SCHEDULE, X0())
    assert guided(denoiser, 1.0) is denoiser
    assert isinstance(guided(denoiser, 2.0), GuidedDenoiser)


def test_guidance_without_labels_is_refused():
    with pytest.raises(UserError, match="guidance needs class labels"):
        GuidedDenoiser(Denoiser(Answer(), SCHEDULE, X0()), 2.0)(torch.zeros(1, 1, 2, 2), torch.tensor([5.0]))

"""Denoisers decode the network's output and refuse ill-posed pairs."""

import pytest
import torch
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.betas import linear
from inkwash.process.forward import q_sample
from inkwash.process.predictions import X0, Eps, Flow, V
from inkwash.process.schedules import BetaSchedule, FlowSchedule

SCHEDULE = BetaSchedule(linear(1000))


class Answer(nn.Module):
    """A network that returns a fixed tensor."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, time, y=None):
        return self.value


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

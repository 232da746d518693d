"""Min-SNR in every target space against the published special cases."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.betas import linear
from inkwash.process.predictions import X0, Eps, V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.weightings import MinSNR, Uniform, snr

SCHEDULE = BetaSchedule(linear(1000))
ALPHA, SIGMA = SCHEDULE(torch.arange(1, 1001))
S = (ALPHA / SIGMA) ** 2
CASES = {
    "eps": (Eps(), S.clamp(max=5) / S),
    "x0": (X0(), S.clamp(max=5)),
    "v": (V(), S.clamp(max=5) / (S + 1)),
}


@pytest.mark.parametrize(("prediction", "expected"), CASES.values(), ids=CASES)
def test_min_snr_is_hang_et_al(prediction, expected):
    weight = MinSNR(5.0)(ALPHA, SIGMA, prediction.det(ALPHA, SIGMA))
    torch.testing.assert_close(weight, expected, rtol=1e-12, atol=0)


def test_snr_is_squared():
    assert snr(torch.tensor(0.8), torch.tensor(0.4)).item() == pytest.approx(4)


def test_uniform_is_one_for_every_prediction():
    assert bool((Uniform()(ALPHA, SIGMA, Eps().det(ALPHA, SIGMA)) == 1).all())


def test_zero_terminal_snr_weighs_nothing_for_v():
    zero, one = (torch.full((1, 1, 1, 1), x, dtype=torch.float64) for x in (0.0, 1.0))
    assert MinSNR()(zero, one, V().det(zero, one)).item() == 0


def test_gamma_is_checked():
    with pytest.raises(UserError, match="weighting.gamma"):
        MinSNR(0)

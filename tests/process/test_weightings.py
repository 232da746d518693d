"""Min-SNR in every target space against the published special cases."""

import math

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process import predictions
from inkwash.process.betas import linear
from inkwash.process.predictions import X0, Eps, Flow, V
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.process.weightings import (
    EDM,
    P2,
    VLB,
    MinSNR,
    Sigmoid,
    SoftMinSNR,
    Uncertainty,
    Uniform,
    Velocity,
    snr,
)

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


SAME_FOR_ALL = [MinSNR(), SoftMinSNR(), P2(), Sigmoid(), EDM(), VLB(SCHEDULE, FixedLarge())]


def relative_to_eps(weighting):
    return weighting(ALPHA, SIGMA, Eps().det(ALPHA, SIGMA))


def test_published_weights_of_the_eps_loss():
    torch.testing.assert_close(relative_to_eps(P2(1.0, 1.0)), 1 / (1 + S))
    torch.testing.assert_close(relative_to_eps(P2(0.5, 2.0)), 1 / (2 + S).sqrt())
    torch.testing.assert_close(relative_to_eps(Sigmoid(2.0)), torch.sigmoid(2 - S.log()))
    torch.testing.assert_close(relative_to_eps(SoftMinSNR(4.0)), 4 / (S + 4))


def test_edm_weight_is_lambda_and_makes_its_own_prediction_plain():
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the x_0 error is 1 on F."""
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64).view(-1, 1, 1, 1)
    alpha = torch.ones_like(sigma)
    expected = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    torch.testing.assert_close(EDM(0.5)(alpha, sigma, X0().det(alpha, sigma)), expected)
    on_f = EDM(0.5)(alpha, sigma, predictions.EDM(0.5).det(alpha, sigma))
    torch.testing.assert_close(on_f, torch.ones_like(on_f))


@pytest.mark.parametrize("prediction", [X0(), V(), predictions.EDM(0.7)], ids=["x0", "v", "edm"])
@pytest.mark.parametrize(
    "weighting",
    [MinSNR(), SoftMinSNR(), P2(), Sigmoid(), EDM(), Velocity(), VLB(SCHEDULE, FixedLarge())],
    ids=lambda w: type(w).__name__,
)
def test_a_weight_means_the_same_for_every_prediction(weighting, prediction):
    """The same error in x_0, seen in another target space, costs the same."""
    e = 0.1
    e_eps, e_y = -ALPHA / SIGMA * e, -prediction.det(ALPHA, SIGMA) / SIGMA * e
    loss_eps = relative_to_eps(weighting) * e_eps**2
    loss_y = weighting(ALPHA, SIGMA, prediction.det(ALPHA, SIGMA)) * e_y**2
    torch.testing.assert_close(loss_y, loss_eps, rtol=1e-9, atol=0)


FLOW_TIMES = torch.tensor([0.001, 0.05, 0.3, 0.7, 0.999], dtype=torch.float64)


def test_velocity_weight_of_the_x_0_error():
    """1 / t^2 on the flow path, and no more than at t = 0.05 (Li & He 2025)."""
    alpha, sigma = FlowSchedule()(FLOW_TIMES)
    found = Velocity(0.05)(alpha, sigma, X0().det(alpha, sigma)).flatten()
    expected = torch.tensor([400, 400, 11.1111, 2.0408, 1.0020], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=0)


def test_velocity_weight_makes_the_flow_loss_of_an_x_0_prediction():
    """|v' - v|^2 of the velocity v' that an estimate of x_0 implies, for t >= clip; so it is 1 with prediction=flow."""
    alpha, sigma = FlowSchedule()(FLOW_TIMES)
    generator = torch.Generator().manual_seed(0)
    x_0, eps, output = torch.randn(3, 5, 1, 2, 2, generator=generator, dtype=torch.float64)
    weight = Velocity(0.05)(alpha, sigma, X0().det(alpha, sigma))
    x_t = alpha * x_0 + sigma * eps
    of_x_0, of_eps = X0().decode(output, x_t, alpha, sigma)
    weighted, plain = weight * (output - X0().target(x_0, eps, alpha, sigma)) ** 2, (of_eps - of_x_0 - (eps - x_0)) ** 2
    torch.testing.assert_close(weighted[1:], plain[1:], rtol=1e-9, atol=0)
    assert (weighted[0] < plain[0]).all()
    ones = Velocity(0.05)(alpha, sigma, Flow().det(alpha, sigma)).flatten()
    torch.testing.assert_close(ones[1:], torch.ones(4, dtype=torch.float64))
    assert ones[0] < 1


def test_vlb_weight_is_ho_et_als_equation_12():
    """T beta_t^2 / (2 sigma_t^2 (1 - beta_t) (1 - alpha_bar_t)) of the eps error, with sigma_t^2 = beta_t."""
    beta, alpha_bar = SCHEDULE.betas.view(-1, 1, 1, 1), ALPHA**2
    found = relative_to_eps(VLB(SCHEDULE, FixedLarge()))
    expected = 1000 * beta / (2 * (1 - beta) * (1 - alpha_bar))
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-9, atol=0)
    # At t = 1 the decoder's variance is beta tilde_2, as in Ho et al.'s code.
    tilde_2 = beta[1] * (1 - alpha_bar[0]) / (1 - alpha_bar[1])
    torch.testing.assert_close(found[0], expected[0] * beta[0] / tilde_2, rtol=1e-9, atol=0)


def test_vlb_weight_with_small_variance_is_the_fall_of_snr():
    """(SNR(s) - SNR(t)) / 2 of the x_0 error (Kingma et al. 2021, eq. 13)."""
    found = VLB(SCHEDULE, FixedSmall())(ALPHA, SIGMA, X0().det(ALPHA, SIGMA))
    torch.testing.assert_close(found[1:], 1000 * (S[:-1] - S[1:]) / 2, rtol=1e-7, atol=0)


def test_vlb_weight_needs_a_chain_and_a_fixed_variance():
    with pytest.raises(UserError, match="weighting=vlb needs a chain"):
        VLB(FlowSchedule(), FixedLarge())
    with pytest.raises(UserError, match="weighting=vlb needs a fixed variance"):
        VLB(SCHEDULE, LearnedRange())


def test_uncertainty_has_random_fourier_features():
    """Frequencies as if drawn from 2 pi N(0, 1), phases from [0, 2 pi) without regard to them (EDM2's MP-Fourier)."""
    seen = Uncertainty(Uniform(), channels=1000)
    assert seen.frequencies.std().item() == pytest.approx(2 * math.pi, rel=0.01)
    assert (seen.frequencies.abs() < 2 * math.pi).float().mean().item() == pytest.approx(0.6827, abs=2e-3)
    gaps = seen.phases.sort().values.diff()
    assert seen.phases.min().item() >= 0
    assert seen.phases.max().item() == pytest.approx(2 * math.pi, abs=0.02)
    assert gaps.max().item() < 3 * 2 * math.pi / 1000
    assert abs(torch.corrcoef(torch.stack([seen.frequencies, seen.phases]))[0, 1].item()) < 0.05


def test_uncertainty_divides_and_adds():
    """error w / exp(u) + u, u a function of sigma / alpha alone and the same in every process."""
    weighting, again = Uncertainty(MinSNR()), Uncertainty(MinSNR())
    torch.nn.init.normal_(weighting.linear.weight)
    again.load_state_dict(weighting.state_dict())
    error, det = torch.rand(1000), V().det(ALPHA, SIGMA)
    u = weighting.log_error(ALPHA, SIGMA)
    assert u.std() > 0.3
    expected = error * MinSNR()(ALPHA, SIGMA, det).flatten().float() / u.exp() + u
    torch.testing.assert_close(weighting.weigh(error, ALPHA, SIGMA, det), expected)
    assert torch.equal(again.log_error(2 * ALPHA, 2 * SIGMA), again.log_error(ALPHA, SIGMA))
    torch.testing.assert_close(again.log_error(ALPHA, SIGMA), u)


def test_log_error_is_a_sum_of_fourier_features():
    """u = sqrt(2 / n) sum_k w_k cos(f_k c_noise + phi_k), c_noise = ln(sigma / alpha) / 4."""
    weighting = Uncertainty(Uniform(), channels=16)
    torch.nn.init.normal_(weighting.linear.weight)
    c_noise = (SIGMA / ALPHA).log().view(-1, 1) / 4
    waves = torch.cos(weighting.frequencies.double() * c_noise + weighting.phases.double())
    expected = math.sqrt(2 / 16) * waves @ weighting.linear.weight.double().T
    torch.testing.assert_close(weighting.log_error(ALPHA, SIGMA).double(), expected[:, 0], rtol=0, atol=1e-4)


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
    with pytest.raises(UserError, match="weighting.clip=0 must be positive"):
        Velocity(0)

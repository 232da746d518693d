"""Targets and their inverse, on every path."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process import predictions
from inkwash.process.forward import q_posterior, q_sample
from inkwash.process.predictions import EDM, X0, Eps, Flow, Mu, Prediction, V
from support.schedules import PATHS, subclasses

ALL = [cls() for cls in subclasses(predictions, Prediction) if cls is not Mu]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("prediction", ALL, ids=lambda p: p.name)
def test_decode_inverts_target(prediction, path):
    gen = torch.Generator().manual_seed(0)
    t = path.time_at(torch.linspace(0.02, 0.98, 8, dtype=torch.float64))
    x_0, eps = torch.randn(2, 8, 3, 4, 4, generator=gen, dtype=torch.float64)
    alpha, sigma = path(t)
    y = prediction.target(x_0, eps, alpha, sigma)
    decoded = prediction.decode(y, q_sample(path, x_0, t, eps), alpha, sigma)
    torch.testing.assert_close(torch.stack(decoded), torch.stack([x_0, eps]), rtol=1e-9, atol=1e-9)


CHAINS = {name: path for name, path in PATHS.items() if path.discrete}


@pytest.mark.parametrize("path", CHAINS.values(), ids=CHAINS)
def test_mu_is_the_posterior_mean(path):
    """Its target is q_posterior's mean at every t, and decoding gives x_0 and eps back."""
    t = torch.arange(1, path.t_max + 1, dtype=torch.float64)
    gen = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, len(t), 1, 2, 2, generator=gen, dtype=torch.float64)
    alpha, sigma = path(t)
    x_t, mu = q_sample(path, x_0, t, eps), Mu(path)
    y = mu.target(x_0, eps, alpha, sigma)
    torch.testing.assert_close(y, q_posterior(path, x_0, x_t, t - 1, t)[0], rtol=1e-9, atol=1e-9)
    decoded = mu.decode(y, x_t, alpha, sigma)
    torch.testing.assert_close(torch.stack(decoded), torch.stack([x_0, eps]), rtol=1e-5, atol=1e-5)


def test_mu_needs_a_chain():
    with pytest.raises(UserError, match="prediction=mu needs a chain"):
        Mu(PATHS["flow"])


def test_targets_are_those_of_the_papers():
    x_0, eps = torch.randn(2, 1, 1, 2, 2, dtype=torch.float64)
    alpha, sigma = (torch.full((1, 1, 1, 1), x, dtype=torch.float64) for x in (0.8, 0.6))
    assert torch.equal(Eps().target(x_0, eps, alpha, sigma), eps)
    assert torch.equal(X0().target(x_0, eps, alpha, sigma), x_0)
    torch.testing.assert_close(V().target(x_0, eps, alpha, sigma), 0.8 * eps - 0.6 * x_0)
    torch.testing.assert_close(Flow().target(x_0, eps, alpha, sigma), eps - x_0)


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_edm_prediction_is_karras_et_als(sigma):
    """D = c_skip x + c_out F with their c_skip and c_out."""
    sigma_data, F, x_t = 0.5, torch.randn(1, 1, 2, 2, dtype=torch.float64), torch.randn(1, 1, 2, 2, dtype=torch.float64)
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2) ** 0.5
    x_0, eps = EDM(sigma_data).decode(F, x_t, *PATHS["edm"](torch.tensor([sigma], dtype=torch.float64)))
    torch.testing.assert_close(x_0, c_skip * x_t + c_out * F)
    torch.testing.assert_close(eps, (x_t - x_0) / sigma)


def test_edm_prediction_at_sigma_data_1_is_minus_v():
    alpha, sigma = PATHS["cosine"](torch.tensor([300]))
    a, b = EDM(1.0).coefficients(alpha, sigma)
    torch.testing.assert_close(torch.stack([-a, -b]), torch.stack(V().coefficients(alpha, sigma)))


def test_det_marks_what_is_ill_posed():
    alpha, sigma = PATHS["flow"](torch.tensor([1.0]))
    assert Eps().det(alpha, sigma).item() == 0
    assert abs(Flow().det(alpha, sigma).item()) == 1

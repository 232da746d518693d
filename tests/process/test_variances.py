"""The reverse step's variances against their definitions."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.forward import posterior_variance, transition
from inkwash.process.variances import FixedBetween, FixedLarge, FixedSmall, LearnedRange, first_log_variance
from support.schedules import PATHS

LINEAR = PATHS["linear"]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "edm", "vp"])
def test_between_lies_between(name):
    """A geometric mean of the two bounds, which it equals at either end: a point, and x_0 ~ N(0, I)."""
    path = PATHS[name]
    t = path.time_at(f64(0.3, 0.6, 0.95))
    s = path.time_at(f64(0.2, 0.5, 0.7))
    (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
    at_s, at_t = alpha_s**2 + sigma_s**2, alpha_t**2 + sigma_t**2  # the variances of x_s and x_t
    large = at_s - (transition(path, s, t)[0] * at_s) ** 2 / at_t  # given x_t, of which x_s has this covariance
    small = posterior_variance(path, s, t)
    torch.testing.assert_close(FixedBetween(0.5)(path, s, t), (small * large).sqrt())
    torch.testing.assert_close(FixedBetween(0.0)(path, s, t), small)
    torch.testing.assert_close(FixedBetween(1.0)(path, s, t), large)
    torch.testing.assert_close(FixedSmall()(path, s, t), small)
    torch.testing.assert_close(FixedLarge()(path, s, t), large)


def test_the_last_step_has_no_noise_but_for_the_large_variance():
    s, t = f64(0.0), f64(20.0)
    assert FixedBetween(0.5)(LINEAR, s, t).item() == FixedSmall()(LINEAR, s, t).item() == 0
    assert FixedBetween(1.0)(LINEAR, s, t).item() == FixedLarge()(LINEAR, s, t).item() > 0


def test_learned_range_interpolates_the_logs_pixel_by_pixel():
    s, t = f64(9.0, 499.0), f64(10.0, 500.0)
    v = torch.rand(2, 3, 4, 4, dtype=torch.float64) * 1.4 - 0.2  # it is not bounded
    small, large = posterior_variance(LINEAR, s, t), transition(LINEAR, s, t)[1]
    torch.testing.assert_close(LearnedRange()(LINEAR, s, t, v), large**v * small ** (1 - v))
    with pytest.raises(UserError, match=r"model.learn_variance=true"):
        LearnedRange()(LINEAR, s, t)


def test_the_first_variance_is_that_of_the_second_step():
    """beta tilde_2 stands for beta tilde_1 = 0 (Ho et al.'s code); a chain of one step has beta alone."""
    found = first_log_variance(LINEAR, f64(1.0)).exp()
    torch.testing.assert_close(found, posterior_variance(LINEAR, f64(1.0), f64(2.0)))
    strided = first_log_variance(LINEAR, f64(20.0)).exp()
    torch.testing.assert_close(strided, posterior_variance(LINEAR, f64(20.0), f64(40.0)))
    end = f64(1000.0)
    torch.testing.assert_close(first_log_variance(LINEAR, end).exp(), transition(LINEAR, f64(0.0), end)[1])


def test_a_share_is_a_share():
    with pytest.raises(UserError, match=r"sampler.variance.share=1.5"):
        FixedBetween(1.5)

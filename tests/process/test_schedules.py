"""Paths: what holds for all of them, and precision that nothing may take away."""

import pytest
import torch
from paths import PATHS

from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, FlowSchedule


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_paths_run_from_data_to_noise(path):
    t = torch.cat([f64(0.0), path.time_at(torch.linspace(0, 0.999, 50, dtype=torch.float64)).unique(), f64(path.t_max)])
    alpha, sigma = path(t)
    assert alpha.shape == sigma.shape == (len(t), 1, 1, 1)
    assert alpha.dtype == sigma.dtype == torch.float64
    assert (alpha[0].item(), sigma[0].item()) == (1, 0)
    assert bool((sigma.flatten().diff() >= 0).all())
    assert bool((alpha.flatten().diff() <= 0).all())


@pytest.mark.parametrize("name", [name for name in PATHS if name != "flow"])
def test_beta_paths_preserve_variance(name):
    alpha, sigma = PATHS[name](torch.arange(int(PATHS[name].t_max) + 1))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)


def test_sampling_starts_from_the_paths_own_noise():
    """N(0, I) on a chain, as Algorithm 2 says, whatever little signal is left; sigma(t_max) elsewhere."""
    assert PATHS["quadratic"].prior_std == 1
    assert PATHS["flow"].prior_std == 1
    assert FlowSchedule()(f64(FlowSchedule().t_max))[1].item() == 1


def test_flow_is_straight():
    alpha, sigma = FlowSchedule()(f64(0.25))
    assert (alpha.item(), sigma.item()) == (0.75, 0.25)


def test_sigma_keeps_its_digits_at_small_t():
    """1 - alpha_bar_1 = beta_1 exactly; by subtraction only 12 digits would be left."""
    schedule = BetaSchedule(cosine(4000))
    assert schedule(f64(1))[1].item() ** 2 == pytest.approx(schedule.betas[0].item(), rel=1e-15)


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.float()])
def test_tables_stay_in_float64(cast):
    schedule = BetaSchedule(linear(1000))
    before = schedule(f64(500))
    wrapped = cast(torch.nn.Sequential(schedule, torch.nn.Linear(1, 1)))
    assert wrapped[1].weight.dtype != torch.float64
    assert all(torch.equal(a, b) and b.dtype == torch.float64 for a, b in zip(before, schedule(f64(500)), strict=True))


def test_tables_follow_the_device():
    schedule = torch.nn.Sequential(BetaSchedule(linear(1000))).to("meta")[0]
    assert schedule.alpha.device.type == "meta"


def test_time_input_is_ddpm_index_stretched_to_1000():
    assert BetaSchedule(linear(1000)).time_input(f64(1, 1000)).tolist() == [0, 999]
    assert BetaSchedule(cosine(10)).time_input(f64(1, 10)).tolist() == [0, 900]
    assert FlowSchedule().time_input(f64(0.5)).item() == 500


def test_time_at_covers_every_discrete_time_equally():
    schedule = BetaSchedule(cosine(10))
    t = schedule.time_at(torch.arange(0, 1, 0.01, dtype=torch.float64))
    assert torch.bincount(t.long()).tolist() == [0] + [10] * 10


def test_a_chain_that_keeps_signal_warns():
    with pytest.warns(UserWarning, match="scale_with_T"):
        BetaSchedule(linear(100))


def test_zero_terminal_snr_is_a_legal_path():
    alpha, sigma = BetaSchedule(torch.cat([linear(1000)[:-1], f64(1.0)]))(f64(1000))
    assert (alpha.item(), sigma.item()) == (0, 1)


@pytest.mark.parametrize("betas", [f64(), f64(0.1, -0.1), f64(0.1, 1.5), f64(0.1, float("nan")), torch.zeros(2, 2)])
def test_unusable_betas_are_refused(betas):
    with pytest.raises(UserError, match="variance"):
        BetaSchedule(betas)


def test_flow_t_min_is_checked():
    with pytest.raises(UserError, match="t_min"):
        FlowSchedule(t_min=0.0)

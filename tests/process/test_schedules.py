"""Paths: what holds for all of them, and precision that nothing may take away."""

import math
import warnings

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, VPSchedule
from support.schedules import PATHS


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


@pytest.mark.parametrize("name", [name for name in PATHS if name not in ("flow", "edm")])
def test_variance_is_preserved(name):
    path = PATHS[name]
    alpha, sigma = path(path.time_at(torch.linspace(0, 0.999, 500, dtype=torch.float64)))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)


def test_sampling_starts_from_the_paths_own_noise():
    """N(0, I) on a chain, as Algorithm 2 says, whatever little signal is left; sigma(t) elsewhere."""
    assert PATHS["quadratic"].prior_std(1000) == 1
    assert PATHS["flow"].prior_std(0.75) == 0.75
    assert PATHS["edm"].prior_std(80) == 80


def test_a_chain_of_one_step_has_one_time():
    assert BetaSchedule(f64(0.999)).time_of(f64(1e-9, 0.1, 1e9)).tolist() == [1, 1, 1]


def test_interpolated_shift_with_falling_noise_is_refused():
    """Its log SNR falls by at least 2 pi along the path, which the shift may not give back."""
    path = CosineSchedule(64, noise_size=512, noise_size_low=32)
    assert (path.sigma_over_alpha(path.time_at(torch.linspace(0, 1, 1000, dtype=torch.float64))).diff() > 0).all()
    with pytest.raises(UserError, match=r"noise_size=1024 .* noise_size_low=32 .* at most 23 times"):
        CosineSchedule(64, noise_size=1024, noise_size_low=32)


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
    assert BetaSchedule(cosine(10), stretch_time=False).time_input(f64(1, 10)).tolist() == [0, 9]
    assert FlowSchedule().time_input(f64(0.5)).item() == 500
    assert VPSchedule().time_input(f64(0.25)).item() == 250
    assert CosineSchedule(64, 32).time_input(f64(0.25)).item() == 250


def test_time_at_covers_every_discrete_time_equally():
    schedule = BetaSchedule(cosine(10))
    t = schedule.time_at(torch.arange(0, 1, 0.01, dtype=torch.float64))
    assert torch.bincount(t.long()).tolist() == [0] + [10] * 10


def test_a_chain_that_keeps_signal_warns():
    with pytest.warns(UserWarning, match="keeps alpha_bar_T = .* use more steps, or schedule=cosine"):
        BetaSchedule(linear(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BetaSchedule(linear(1000))


@pytest.mark.parametrize("betas", [linear(1000), cosine(1000), cosine(10)])
def test_zero_terminal_snr(betas):
    """Lin et al. 2023, Algorithm 1: sqrt(alpha_bar) keeps its first value, ends at 0, and is linear in the old one."""
    old, new = BetaSchedule(betas), BetaSchedule(betas, zero_terminal_snr=True)
    assert (new.alpha[-1].item(), new.sigma[-1].item()) == (0, 1)
    torch.testing.assert_close(new.alpha[1], old.alpha[1])
    slope = new.alpha[1:].diff() / old.alpha[1:].diff()
    torch.testing.assert_close(slope, torch.full_like(slope, slope[0].item()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_time_of_inverts_sigma_over_alpha(path):
    t = path.time_at(torch.linspace(0.01, 0.97, 20, dtype=torch.float64)).unique()
    torch.testing.assert_close(path.time_of(path.sigma_over_alpha(t)), t, rtol=1e-9, atol=1e-9)
    ends = path.time_of(f64(1e-12, 1e12))
    torch.testing.assert_close(ends, f64(path.t_min, path.t_max), rtol=1e-9, atol=1e-9)


def test_edm_is_karras_et_al():
    path = EDMSchedule(sigma_data=0.5)
    assert [c.item() for c in path(f64(3.0))] == [1, 3]
    assert path.input_scale(f64(3.0, 1.0)).flatten().tolist() == pytest.approx([9.25**-0.5, 1.25**-0.5])
    assert path.time_input(f64(3.0)).item() == pytest.approx(1000 * math.log(3) / 4, rel=1e-6)


def test_vp_is_the_limit_of_ddpms_linear_chain():
    """beta_i = beta(i / T) / T: 4,000 steps differ from the limit by about 1 / T."""
    T = 4000
    u = torch.arange(1, T + 1, dtype=torch.float64) / T
    chain, path = BetaSchedule((0.1 + 19.9 * u) / T), VPSchedule()
    torch.testing.assert_close(chain(u * T)[0], path(u)[0], rtol=0, atol=1e-3)
    assert [path.sigma_over_alpha(f64(t)).item() for t in (0.001, 1.0)] == pytest.approx([0.0105, 152.2], rel=0.01)


def test_continuous_cosine_spans_thirty_units_of_log_snr():
    path = CosineSchedule(image_size=64, noise_size=64)
    assert path.log_snr(f64(0, 0.5, 1)).tolist() == pytest.approx([15, 0, -15], abs=1e-9)
    # The ends are cut off by an angle of atan(exp(-7.5)), which moves what lies between by a little.
    moved = 4 / math.sin(0.2 * math.pi) * 0.6 * math.exp(-7.5)
    untruncated = -2 * math.log(math.tan(0.1 * math.pi))
    assert path.log_snr(f64(0.2)).item() == pytest.approx(untruncated - moved, abs=1e-5)


def test_shifted_cosine_has_the_snr_of_averaged_pixels():
    """At twice the size an average of 2 x 2 pixels has 4 times the SNR: the shift takes that back."""
    plain, shifted = CosineSchedule(32, 32), CosineSchedule(64, 32)
    t = f64(0.1, 0.5, 0.9)
    torch.testing.assert_close(shifted.sigma_over_alpha(t) ** 2, 4 * plain.sigma_over_alpha(t) ** 2)
    assert plain.sigma_over_alpha(f64(0.5)).item() == pytest.approx(1)
    between = CosineSchedule(64, 32, noise_size_low=64)
    logs = [(between.sigma_over_alpha(f64(t)) / plain.sigma_over_alpha(f64(t))).log().item() for t in (1e-9, 0.5, 1.0)]
    assert logs == pytest.approx([0, math.log(2) / 2, math.log(2)], abs=1e-6)


@pytest.mark.parametrize("betas", [f64(), f64(0.1, -0.1), f64(0.1, 1.5), f64(0.1, float("nan")), torch.zeros(2, 2)])
def test_unusable_betas_are_refused(betas):
    with pytest.raises(UserError, match="variance"):
        BetaSchedule(betas)


def test_flow_t_min_is_checked():
    with pytest.raises(UserError, match="t_min"):
        FlowSchedule(t_min=0.0)

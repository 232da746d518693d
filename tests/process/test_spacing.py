"""Sampling times against the published lists, counted from 1."""

import pytest
import torch
from diffusers import DDPMScheduler

from inkwash.errors import UserError
from inkwash.process import spacing
from inkwash.process.betas import linear
from inkwash.process.schedules import BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Leading, Linspace, LogSNR, Shifted, Spacing, Trailing
from support.schedules import PATHS, subclasses

SCHEDULE = BetaSchedule(linear(1000))
ALL = subclasses(spacing, Spacing)


@pytest.mark.parametrize(("cls", "expected"), [
    (Leading, [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]),       # DDIM's code, improved-diffusion "ddim10"
    (Trailing, [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]),   # Lin et al. 2023
    (Linspace, [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1, 0]),     # improved-diffusion "10"
])  # fmt: skip
def test_ten_of_a_thousand(cls, expected):
    assert cls(10)(SCHEDULE).tolist() == expected


@pytest.mark.parametrize("steps", [1, 7, 50, 333, 1000])
@pytest.mark.parametrize("cls", [Leading, Trailing, Linspace])
def test_lists_are_those_of_diffusers(cls, steps):
    scheduler = DDPMScheduler(timestep_spacing=cls.__name__.lower())
    scheduler.set_timesteps(steps)
    ours = (cls(steps)(SCHEDULE)[:-1] - 1).tolist()
    if cls is Linspace and steps == 1:
        assert ours == [999]  # diffusers starts a single step at t = 0, where there is nothing to do
    else:
        assert ours == scheduler.timesteps.tolist()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_times_fall_strictly_to_zero(cls, path, steps):
    if cls in (Karras, LogSNR, Shifted) and path is PATHS["cosine-10"] and steps == 10:
        # Of ten times none can be left out.
        with pytest.raises(UserError, match="same times"):
            cls(steps)(path)
        return
    times = cls(steps)(path)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert times[-1] == 0
    assert bool((times.diff() < 0).all())
    assert times[0] <= path.t_max


@pytest.mark.parametrize("cls", [Leading, Trailing, Linspace])
def test_no_number_means_every_step(cls):
    assert cls(None)(SCHEDULE).tolist() == list(range(1000, -1, -1))


def test_leading_in_continuous_time_has_the_least_noisy_time():
    path = FlowSchedule()
    first, last = path.t_min, path.t_max
    assert Leading(4)(path).tolist() == pytest.approx([*(first + i / 4 * (last - first) for i in (3, 2, 1, 0)), 0])


def test_karras_is_the_paper_on_edms_path():
    i = torch.arange(18, dtype=torch.float64)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(Karras(18)(PATHS["edm"])[:-1], expected)


def test_karras_and_log_snr_are_even_in_what_they_say():
    path = PATHS["vp"]
    roots = path.sigma_over_alpha(Karras(10)(path)[:-1]) ** (1 / 7)
    logs = path.sigma_over_alpha(LogSNR(10)(path)[:-1]).log()
    for x in (roots, logs):
        torch.testing.assert_close(x.diff(), x.diff().mean().expand(9), rtol=1e-6, atol=0)
    bounded = path.sigma_over_alpha(LogSNR(5, sigma_min=0.1, sigma_max=10)(path)[:-1])
    assert bounded[[0, -1]].tolist() == pytest.approx([10, 0.1])


@pytest.mark.parametrize("shift", [3.0, 1 / 0.3, 0.5])
def test_a_shift_multiplies_sigma_over_alpha_on_the_flow_path(shift):
    """Esser et al. 2024, eq. 23. LightningDiT counts from the noise: s u / (1 + (s - 1) u) with s = 0.3 is 1 / 0.3."""
    path = FlowSchedule(t_min=1e-9)
    even, shifted = Trailing(8)(path)[1:-1], Shifted(8, shift)(path)[1:-1]
    torch.testing.assert_close(path.sigma_over_alpha(shifted), shift * path.sigma_over_alpha(even), rtol=1e-6, atol=0)
    u, s = 1 - even, 1 / shift
    torch.testing.assert_close(1 - shifted, s * u / (1 + (s - 1) * u), rtol=1e-6, atol=0)
    assert Shifted(8, shift)(path)[0] == 1


def test_no_shift_is_trailing():
    for path in (SCHEDULE, FlowSchedule()):
        assert torch.equal(Shifted(7, 1.0)(path), Trailing(7)(path))


def test_bad_numbers_are_refused():
    with pytest.raises(UserError, match="spacing.shift=0 must be positive"):
        Shifted(5, 0)
    with pytest.raises(UserError, match="spacing.steps=0"):
        Trailing(0)
    with pytest.raises(UserError, match="more than the schedule's T=1000"):
        Trailing(1001)(SCHEDULE)
    with pytest.raises(UserError, match="set spacing.sigma_min and spacing.sigma_max"):
        Karras(5, sigma_max=None)(FlowSchedule())
    with pytest.raises(UserError, match="continuous"):
        Trailing(None)(FlowSchedule())


@pytest.mark.parametrize("cls", [Leading, Trailing, Linspace])
@pytest.mark.parametrize("path", [EDMSchedule(), FlowSchedule(), VPSchedule(), CosineSchedule(32, 32)])
def test_even_in_continuous_time_follows_time_at(cls, path):
    times = cls(40)(path)
    assert (times.diff() < 0).all()
    assert times[-1] == 0
    assert times[-2] >= path.t_min * (1 - 1e-12)
    assert times[0] <= path.t_max * (1 + 1e-12)
    # The last of so many steps is one of little noise, whatever the unit of time.
    assert path.sigma_over_alpha(times[-2:-1]) < 0.1

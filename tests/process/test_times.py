"""Training times: uniform, and stratified over the global batch."""

import pytest
import torch

from inkwash.process.betas import linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.times import LogitNormal, LogNormal, Stratified, Uniform
from inkwash.random import Draws, generator

SCHEDULE = BetaSchedule(linear(1000))


def draws(first=0, total=None, seed=0):
    return Draws([generator(seed, "test")], first=first, total=total)


def test_uniform_covers_1_to_T():
    t = Uniform()(SCHEDULE, 100_000, draws())
    assert t.dtype == torch.float64
    assert (t.min().item(), t.max().item()) == (1, 1000)
    counts = torch.bincount(t.long(), minlength=1001)[1:].double()
    # chi-square with 999 degrees of freedom: mean 999, standard deviation 45
    assert abs(((counts - 100) ** 2 / 100).sum().item() - 999) < 5 * 45


def test_stratified_takes_one_time_of_each_slice():
    t = Stratified()(SCHEDULE, 100, draws())
    assert ((t - 1) // 10).tolist() == list(range(100))


def test_stratified_parts_are_slices_of_the_global_batch():
    """The second half of a global batch of 100 covers the upper half of the times."""
    t = Stratified()(SCHEDULE, 50, draws(first=50, total=100))
    assert ((t - 1) // 10).tolist() == list(range(50, 100))


@pytest.mark.parametrize("schedule", [EDMSchedule(), SCHEDULE], ids=["edm", "linear"])
def test_log_normal_has_its_median_and_spread(schedule):
    """Of sigma / alpha: median exp(-1.2), 84% below exp(-1.2 + 1.2)."""
    ratio = schedule.ratio(LogNormal(-1.2, 1.2)(schedule, 20_000, draws())).log()
    assert ratio.median().item() == pytest.approx(-1.2, abs=0.05)
    assert (ratio < 0).double().mean().item() == pytest.approx(0.8413, abs=0.01)


def test_logit_normal_is_dense_in_the_middle():
    t = LogitNormal(0.0, 1.0)(FlowSchedule(), 20_000, draws())
    assert t.median().item() == pytest.approx(0.5, abs=0.01)
    assert ((t > 0.2689) & (t < 0.7311)).double().mean().item() == pytest.approx(0.6827, abs=0.012)


def test_continuous_paths_draw_above_t_min():
    t = Uniform()(FlowSchedule(t_min=0.1), 10_000, draws())
    assert 0.1 <= t.min() < 0.102
    assert 0.998 < t.max() < 1

"""Training times: their distributions, and what they do with a global batch."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.process.betas import cosine, linear
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule
from inkwash.process.times import LogitNormal, LogNormal, SecondMoment, Stratified, Uniform
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
    ratio = schedule.sigma_over_alpha(LogNormal(-1.2, 1.2)(schedule, 20_000, draws())).log()
    assert ratio.median().item() == pytest.approx(-1.2, abs=0.05)
    assert (ratio < 0).double().mean().item() == pytest.approx(0.8413, abs=0.01)


def test_logit_normal_is_dense_in_the_middle():
    t = LogitNormal(0.0, 1.0)(FlowSchedule(), 20_000, draws())
    assert t.median().item() == pytest.approx(0.5, abs=0.01)
    assert ((t > 0.2689) & (t < 0.7311)).double().mean().item() == pytest.approx(0.6827, abs=0.012)


@pytest.mark.parametrize(
    ("size", "mean"), [(8, -2.67), (28, -1.413), (32, -1.279), (64, -0.586), (128, 0.107), (256, 0.8), (512, 1.493)]
)
def test_larger_images_get_noisier_times(size, mean):
    assert LogitNormal(0.8, 0.8, image_size=size, noise_size=256).mean == pytest.approx(mean, abs=5e-3)


@pytest.mark.parametrize("size", [64, 512])
def test_the_shift_multiplies_the_noise(size):
    """sigma / alpha of every draw times size / 256: t -> s t / (1 + (s - 1) t) (Esser et al. 2024, eq. 23)."""
    schedule, s = FlowSchedule(t_min=1e-12), size / 256
    t, shifted = (LogitNormal(0.8, 0.8, image_size=n)(schedule, 1000, draws()) for n in (256, size))
    torch.testing.assert_close(shifted, s * t / (1 + (s - 1) * t), rtol=1e-9, atol=1e-11)
    ratio = schedule.sigma_over_alpha(shifted) / schedule.sigma_over_alpha(t)
    torch.testing.assert_close(ratio, torch.full_like(ratio, s), rtol=1e-6, atol=0)


def test_sizes_of_the_shift_are_checked():
    with pytest.raises(UserError, match="times.image_size=0 must be at least 1"):
        LogitNormal(image_size=0)
    with pytest.raises(UserError, match="times.noise_size=0 must be at least 1"):
        LogitNormal(noise_size=0)


def test_continuous_paths_draw_above_t_min():
    t = Uniform()(FlowSchedule(t_min=0.1), 10_000, draws())
    assert 0.1 <= t.min() < 0.102
    assert 0.998 < t.max() < 1


# --- Importance sampling ----------------------------------------------------------------------------------------------


def taught(T=10, history=4):
    """Each t has been seen `history` times with losses of second moment t^2."""
    times = SecondMoment(T, history, uniform=0.01)
    t = torch.arange(1, T + 1, dtype=torch.float64).repeat(history)
    times.learn(t, t * torch.tensor([1.0, -1.0] * (len(t) // 2)))
    return times


def test_importance_is_the_root_of_the_second_moment():
    """p(t) = 0.99 t / 55 + 0.001, and the times of a batch are drawn from it."""
    expected = 0.99 * torch.arange(1, 11, dtype=torch.float64) / 55 + 0.001
    times, schedule = taught(), BetaSchedule(cosine(10))
    torch.testing.assert_close(times.probabilities(), expected)
    t = times(schedule, 100_000, draws())
    found = torch.bincount(t.long(), minlength=11)[1:] / 100_000
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)  # stratified: better than 1 / sqrt(n)
    torch.testing.assert_close(times.weight(schedule, t), 1 / (10 * expected[t.long() - 1]))


def test_importance_is_uniform_until_every_t_is_known():
    times = SecondMoment(10, history=4)
    times.learn(torch.arange(1.0, 10.0).repeat(4), torch.ones(36))
    times.learn(torch.tensor([10.0] * 3), torch.ones(3))
    torch.testing.assert_close(times.probabilities(), torch.full((10,), 0.1, dtype=torch.float64))
    times.learn(torch.tensor([10.0]), torch.full((1,), 9.0))
    assert times.probabilities()[-1] > 0.3


def test_importance_forgets_what_is_old_and_survives_silence():
    times = taught(history=4)
    times.learn(torch.full((4,), 3.0), torch.full((4,), 100.0))
    assert times.probabilities().argmax().item() == 2
    silent = SecondMoment(3, history=1)
    silent.learn(torch.tensor([1.0, 2, 3]), torch.zeros(3))
    torch.testing.assert_close(silent.probabilities(), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_importance_learns_as_if_losses_came_one_by_one():
    """Some t come more often in a batch than they have places, and losses that are not finite count for nothing."""
    times, table, counts = SecondMoment(10, history=4), torch.zeros(10, 4, dtype=torch.float64), [0] * 10
    numbers = torch.Generator().manual_seed(0)
    for _ in range(5):
        t, losses = torch.randint(1, 6, (24,), generator=numbers).double(), torch.rand(24, generator=numbers)
        losses[::7] = torch.nan
        times.learn(t, losses)
        for index, loss in zip((t.long() - 1).tolist(), losses.tolist(), strict=True):
            if loss == loss:
                table[index, counts[index] % 4] = loss
                counts[index] += 1
    assert torch.equal(times.losses, table)
    assert times.counts.tolist() == counts


def test_importance_is_in_the_checkpoint_and_never_halved():
    times = taught()
    again = SecondMoment(10, history=4, uniform=0.01)
    again.load_state_dict(times.half().state_dict())
    assert times.losses.dtype == torch.float64
    assert torch.equal(again.probabilities(), times.probabilities())
    assert torch.equal(again.counts, times.counts)


class AlmostOne(Draws):
    def strata(self, n):
        return torch.full((n,), 1 - 2**-53, dtype=torch.float64)


def test_the_last_time_is_the_last_although_probabilities_are_rounded():
    """Ten times 0.1 add up to no more than the largest number below 1."""
    assert torch.full((10,), 0.1, dtype=torch.float64).cumsum(0)[-1].item() == 1 - 2**-53
    assert SecondMoment(10)(BetaSchedule(cosine(10)), 2, AlmostOne([])).tolist() == [10, 10]


def test_importance_needs_the_chain_it_was_made_for():
    with pytest.raises(UserError, match="needs a chain of as many"):
        SecondMoment(10)(SCHEDULE, 4, draws())
    with pytest.raises(UserError, match="needs a chain of as many"):
        SecondMoment(1)(FlowSchedule(), 4, draws())
    with pytest.raises(UserError, match="uniform in"):
        SecondMoment(10, uniform=0)

"""The variational bound: its terms, and the entropy of data whose density is known."""

import math

import pytest
import torch
from torch import nn

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.likelihood.bound import (
    BoundBits,
    DiscretizedGaussian,
    TanhDiscretizedGaussian,
    VariationalBound,
    normal_kl,
    subset,
    uniforms,
    variational_bound,
)
from inkwash.likelihood.flow import flow_bits_per_dim
from inkwash.process.betas import cosine, linear
from inkwash.process.forward import posterior_variance, transition
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.spacing import Linspace
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.samplers.base import ImageNoise


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def test_normal_kl_is_the_textbooks():
    found = normal_kl(f64([0.3]), f64([math.log(0.5)]), f64([math.log(2.0)]))
    p, q = torch.distributions.Normal(f64([0.3]), 0.5**0.5), torch.distributions.Normal(f64([0.0]), 2**0.5)
    torch.testing.assert_close(found, torch.distributions.kl_divergence(p, q))


@pytest.mark.parametrize("std", [1e-4, 0.01, 0.5, 30.0])
@pytest.mark.parametrize("mean", [-1.4, -1.0, 0.1234, 2.0])
def test_decoder_is_a_distribution(mean, std):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_p = DiscretizedGaussian()(levels, torch.full_like(levels, mean), torch.full_like(levels, math.log(std)))
    assert bool(log_p.isfinite().all())
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_decoder_keeps_digits_in_the_tails():
    """10 standard deviations out the probability is 1e-23, where 1 - cdf is 0 in float64; scipy has 30 digits of it."""
    from scipy.stats import norm

    x, std = f64([0.0]), 0.01
    for mean in (0.1, -0.1):
        found = DiscretizedGaussian()(x, f64([mean]), f64([math.log(std)])).item()
        ends = [(-abs(mean) + half) / std for half in (1 / 255, -1 / 255)]
        assert found == pytest.approx(math.log(norm.cdf(ends[0]) - norm.cdf(ends[1])), rel=1e-10)


def test_decoders_gradient_is_finite_far_out():
    mean = torch.tensor([3.0, -3.0, 0.0], requires_grad=True)
    DiscretizedGaussian()(torch.tensor([-1.0, 1.0, 1.0]), mean, torch.full((3,), -7.0)).sum().backward()
    assert mean.grad is not None
    assert bool(mean.grad.isfinite().all())
    assert mean.grad[0] < 0 < mean.grad[1]


def test_tanh_decoder_is_close_to_the_exact_one():
    x, mean, log_std = f64([-1.0, 0.0, 1.0]), f64([-0.9, 0.01, 0.98]), torch.full((3,), math.log(0.05)).double()
    exact, tanh = DiscretizedGaussian()(x, mean, log_std), TanhDiscretizedGaussian()(x, mean, log_std)
    torch.testing.assert_close(tanh, exact, rtol=5e-3, atol=0)
    assert not torch.equal(tanh, exact)


MU, S = 0.1, 0.25
# Bits for a level of N(MU, S^2): its density times the width of a level.
ENTROPY = math.log2(S * math.sqrt(2 * math.pi * math.e)) + math.log2(127.5)


class ExactGaussian(nn.Module):
    """E[x_0 | x_t] and the exact reverse variance's v, for data N(MU, S^2 I) on a chain."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t, y=None):
        alpha, sigma = self.schedule(t)
        total = alpha**2 * S**2 + sigma**2
        x_0 = MU + alpha * S**2 / total * (x_t - alpha * MU)
        s = t - 1
        small, large = posterior_variance(self.schedule, s, t), transition(self.schedule, s, t)[1]
        # Var(x_s | x_t) = that of the posterior + (its dependence on x_0)^2 Var(x_0 | x_t).
        of_x_0 = self.schedule(s)[0] * large / sigma**2
        exact = small + of_x_0**2 * S**2 * sigma**2 / total
        v = torch.where(small > 0, (exact / small).log() / (large / small).log(), self.first(t, exact))
        return Estimate(x_0, (x_t - alpha * x_0) / sigma, v.expand_as(x_t))

    def first(self, t, exact):
        after = (t + 1).clamp(max=self.schedule.t_max)
        small, large = posterior_variance(self.schedule, t, after), transition(self.schedule, t - 1, t)[1]
        return (exact / small).log() / (large / small).log()


def levels(n, seed=0):
    x = MU + S * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (127.5 * x + 127.5).round().clamp(0, 255) / 127.5 - 1


def total_of(denoiser, variance, x_0, times=None, seed=1):
    """The bound of every image with float64 noise, unclipped."""
    gen = torch.Generator().manual_seed(seed)

    def noise():
        return torch.randn(x_0.shape, generator=gen, dtype=torch.float64)

    return variational_bound(denoiser, VariationalBound(variance), x_0, None, noise, None, times).total


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("schedule", [BetaSchedule(linear(1000)), BetaSchedule(cosine(1000))], ids=["linear", "cosine"])
def test_bits_per_dim_of_an_exact_gaussian_model_is_its_entropy(schedule):
    """With the exact variance every term is what it must be, and the bound is tight: within 1% of 7.04 bits."""
    total = total_of(ExactGaussian(schedule), LearnedRange(), levels(400))
    assert total.mean().item() == pytest.approx(ENTROPY, rel=0.01)
    assert total.mean().item() > ENTROPY - 4 * total.std().item() / 20


@pytest.mark.filterwarnings("ignore:this schedule keeps")
def test_a_chain_that_keeps_signal_costs_its_prior_kl():
    """With the exact reverse the bound is loose by KL(q(x_T) || N(0, 1)) and by nothing else."""
    schedule = BetaSchedule(linear(100))
    alpha, sigma = schedule.alpha[-1].item(), schedule.sigma[-1].item()
    mean, variance = alpha * MU, (alpha * S) ** 2 + sigma**2
    wrong = (mean**2 + variance - 1 - math.log(variance)) / 2 / math.log(2)
    total = total_of(ExactGaussian(schedule), LearnedRange(), levels(400)).mean().item()
    assert wrong > 0.02
    assert total == pytest.approx(ENTROPY + wrong, rel=0.005)


def test_a_fixed_variance_costs_bits(gaussian_denoiser):
    """The bound holds with any variance, and is looser with the wrong one: on 20 steps by far."""
    schedule, x_0 = BetaSchedule(linear(20, beta_end=0.6)), levels(400)
    exact = total_of(ExactGaussian(schedule), LearnedRange(), x_0).mean()
    fixed = [total_of(gaussian_denoiser(schedule, MU, S), v, x_0).mean() for v in (FixedSmall(), FixedLarge())]
    assert ENTROPY * 0.99 < exact < min(fixed) - 0.05


@pytest.mark.slow
def test_a_share_of_the_times_estimates_the_whole(gaussian_denoiser):
    """50 of 1000 times: no bias, and a spread of less than 0.1 bits."""
    denoiser, x_0 = gaussian_denoiser(BetaSchedule(linear(1000)), MU, S), levels(100)
    wholes = f64([total_of(denoiser, FixedSmall(), x_0, seed=seed).mean() for seed in range(4)])
    gen = torch.Generator().manual_seed(3)
    chosen = [subset(1000, 50, torch.rand(50, generator=gen)) for _ in range(20)]
    parts = f64([total_of(denoiser, FixedSmall(), x_0, times, 9 + i).mean() for i, times in enumerate(chosen)])
    assert parts.std().item() < 0.1
    error = (wholes.var() / 4 + parts.var() / 20).sqrt().item()
    assert parts.mean().item() == pytest.approx(wholes.mean().item(), abs=4 * error)


@pytest.mark.parametrize(("T", "k"), [(1000, 50), (1000, 999), (1000, 5000), (10, 4), (2, 1), (1, 3)])
def test_a_subset_stands_for_every_time_once(T, k):
    first, length = subset(T, k, torch.zeros(k))
    last, _ = subset(T, k, torch.full((k,), 1 - 1e-7))
    assert length.sum().item() == T - 1
    covered = [t for low, high in zip(first.tolist(), last.tolist(), strict=True) for t in range(low, high + 1)]
    assert covered == list(range(2, T + 1))


SHORT = BetaSchedule(linear(100, scale_with_T=True))


def shares_of(indices, k, seed=0):
    """k of 100 times: the bits of images that are all alike, each with its own noise and times."""
    x_0 = levels(1).expand(len(indices), -1, -1, -1)
    return BoundBits(LearnedRange(), k, None)(ExactGaussian(SHORT), x_0, None, ImageNoise(seed, indices, (1, 4, 4)))


@pytest.mark.slow
def test_standard_error_of_chosen_times_is_spread_over_seeds():
    """The choice of times is most of the error. Were it the same for all images, none of it would show between them."""
    n, seeds = 40, 30
    found = torch.stack([shares_of(range(n), 4, seed) for seed in range(seeds)])
    whole = shares_of(range(400), None)
    reported = (found.var(dim=1).mean() / n).sqrt().item()
    assert found.mean(dim=1).std().item() == pytest.approx(reported, rel=4 / math.sqrt(2 * seeds))
    error = math.hypot(reported / math.sqrt(seeds), whole.std().item() / 20)
    assert found.mean().item() == pytest.approx(whole.mean().item(), abs=4 * error)
    assert found.std() > 3 * whole.std()


def test_a_time_counts_for_all_that_it_stands_for():
    chain = ExactGaussian(BetaSchedule(linear(5, beta_end=0.95)))
    times = torch.tensor([2, 4]), torch.tensor([1, 3])
    bound = variational_bound(
        chain, VariationalBound(LearnedRange()), levels(3), None, ImageNoise(0, range(3), (1, 4, 4)), times=times
    )
    assert bound.terms[[2, 4]].isnan().all()
    expected = bound.terms[0] + bound.terms[1] + 3 * bound.terms[3] + bound.prior
    torch.testing.assert_close(bound.total, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("k", "images"), [(4, 1), (16, 1), (17, 2), (40, 3)])
def test_times_are_drawn_from_no_more_images_than_they_need(k, images):
    calls = []

    def noise():
        calls.append(1)
        return torch.zeros(2, 1, 4, 4)

    assert torch.equal(uniforms(noise, k), torch.full((2, k), 0.5, dtype=torch.float64))
    assert len(calls) == images


@pytest.mark.parametrize("k", [4, 30])
def test_an_image_draws_its_own_times_in_any_batch(k):
    """30 times take more numbers than an image of 16 pixels has."""
    together = shares_of(range(5), k)
    parts = torch.cat([shares_of(indices, k) for indices in ([0, 1], [2], [3, 4])])
    torch.testing.assert_close(parts, together, rtol=1e-12, atol=0)
    assert len(together.unique()) == 5


def test_a_chain_of_one_step_has_no_times_to_choose(gaussian_denoiser):
    chain, x_0 = gaussian_denoiser(BetaSchedule(f64([0.9999])), MU, S), levels(2)
    share, whole = (BoundBits(FixedLarge(), k)(chain, x_0, None, lambda: torch.zeros_like(x_0)) for k in (3, None))
    assert torch.equal(share, whole)


def test_every_image_has_one_time_in_each_slice():
    chosen, length = subset(1000, 4, torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.999, 0.5, 0.0, 0.999]]))
    assert chosen.tolist() == [[2, 9, 45, 212], [8, 27, 45, 1000]]
    assert length.tolist() == [7, 36, 167, 789]


def test_the_slices_of_a_subset_grow_with_t():
    """Edges 2, 2 q, 2 q^2 .. 1001 with q = 500.5^(1/4) = 4.73."""
    first, length = subset(1000, 4, torch.zeros(4))
    assert first.tolist() == [2, 9, 45, 212]
    assert length.tolist() == [7, 36, 167, 789]


def test_what_has_no_likelihood_is_refused(gaussian_denoiser):
    x_0 = levels(1)
    with pytest.raises(UserError, match="needs a chain of whole steps"):
        total_of(gaussian_denoiser(FlowSchedule(), MU, S), FixedSmall(), x_0)
    with pytest.raises(UserError, match="needs continuous time"):
        flow_bits_per_dim(gaussian_denoiser(BetaSchedule(cosine(10)), MU, S), Linspace(5), x_0, None, x_0, x_0)
    with pytest.raises(UserError, match="learn_variance=true"):
        VariationalBound(LearnedRange()).term(BetaSchedule(cosine(10)), x_0, f64([3.0]), Estimate(x_0, x_0))

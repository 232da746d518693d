"""Likelihood: improved-diffusion's numbers on the same noise, and the entropy of data whose density is known."""

import json
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from inkwash.commands import train
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.denoiser import Denoiser, Estimate
from inkwash.errors import UserError
from inkwash.likelihood.bound import (
    BoundBits,
    DiscretizedGaussian,
    TanhDiscretizedGaussian,
    VariationalBound,
    normal_kl,
    subset,
    variational_bound,
)
from inkwash.likelihood.flow import FlowBits, flow_bits_per_dim
from inkwash.losses.distances import L2
from inkwash.losses.vlb import HybridLoss, VLBLoss
from inkwash.process.betas import cosine, linear
from inkwash.process.forward import posterior_variance, transition
from inkwash.process.predictions import Eps
from inkwash.process.schedules import BetaSchedule, EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Linspace, LogSNR, Trailing
from inkwash.process.times import Stratified
from inkwash.process.variances import FixedLarge, FixedSmall, LearnedRange
from inkwash.process.weightings import Uniform
from inkwash.samplers.base import ImageNoise

CONF = Path(config_dir())
assert train  # its import makes the schema and the resolver known
GOLDEN = json.loads((Path(__file__).parent / "golden" / "improved_diffusion_bound.json").read_text())
VARIANCES = {"fixed_large": FixedLarge(), "fixed_small": FixedSmall(), "learned_range": LearnedRange()}
T = 40
INDEX = torch.arange(2 * 3 * 4 * 4, dtype=torch.float64).view(2, 3, 4, 4)
X_0 = (7 * INDEX**2 + 13 * INDEX) % 256 / 127.5 - 1


def noise_at(t):
    return math.sqrt(2) * torch.sin(1.7 * INDEX + 0.3 * (t - 1))


class Formula(nn.Module):
    """The function that improved-diffusion was given; it counts t from 0."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x, time, y=None):
        t = (time.double() * T / 1000).round().view(-1, 1, 1, 1)
        heads = [torch.tanh(x) + 0.05 * torch.sin(t / 5), 0.6 * torch.cos(INDEX + t / 10)]
        return torch.cat(heads[: self.heads], dim=1)


def golden_denoiser(name):
    return Denoiser(Formula(1 + (name == "learned_range")), BetaSchedule(linear(T, scale_with_T=True)), Eps())


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


# --- The variational bound against improved-diffusion -----------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANCES)
def test_bound_equals_improved_diffusions(name):
    """calc_bpd_loop: every term at every t, whose tables are float32."""
    feed = iter([noise_at(t) for t in range(T, 0, -1)])
    bound = VariationalBound(VARIANCES[name], TanhDiscretizedGaussian())
    found = variational_bound(golden_denoiser(name), bound, X_0, None, lambda: next(feed))
    for key in ("terms", "prior", "total", "x_0_mse", "eps_mse"):
        torch.testing.assert_close(getattr(found, key), f64(GOLDEN[name][key]), rtol=2e-5, atol=2e-7, msg=key)


class Fixed:
    """Noise and times of a test's choice in place of random ones."""

    def __init__(self, t):
        self.t = t

    def normal(self, *shape):
        return noise_at(self.t)

    def strata(self, n):
        return torch.full((n,), (self.t - 0.5) / T, dtype=torch.float64)


@pytest.mark.parametrize("t", [1, 2, 21, 40])
@pytest.mark.parametrize("name", VARIANCES)
def test_training_on_the_bound_equals_improved_diffusions(name, t):
    """Their KL loss is one term; ours is T of them, as their RESCALED_KL."""
    loss = VLBLoss(VARIANCES[name], Stratified())
    loss.bound.decoder = TanhDiscretizedGaussian()
    terms = loss(golden_denoiser(name), X_0, None, Fixed(t))
    assert terms.t.tolist() == [t, t]
    expected = f64(GOLDEN[name]["training"][str(t)]["kl"])
    torch.testing.assert_close(terms.loss.double() / T, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("t", [1, 2, 21, 40])
def test_hybrid_loss_equals_improved_diffusions(t):
    """RESCALED_MSE with a learned range: mse + T / 1000 times a term."""
    loss = HybridLoss(L2(), Uniform(), Stratified())
    loss.bound.decoder = TanhDiscretizedGaussian()
    found = loss(golden_denoiser("learned_range"), X_0, None, Fixed(t)).loss
    expected = f64(GOLDEN["learned_range"]["training"][str(t)]["hybrid"])
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=1e-7)


def test_hybrid_bound_moves_the_variance_only():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.v = (nn.Parameter(torch.full((1, 3, 4, 4), 0.1, dtype=torch.float64)) for _ in "ab")

        def forward(self, x, time, y=None):
            return torch.cat([self.mean.expand_as(x), self.v.expand_as(x)], dim=1)

    denoiser = Denoiser(Two(), BetaSchedule(linear(T, scale_with_T=True)), Eps())

    def gradients(vlb_weight):
        loss = HybridLoss(L2(), Uniform(), Stratified(), vlb_weight=vlb_weight)(
            denoiser, X_0, None, Fixed(21)
        ).loss.sum()
        return torch.autograd.grad(loss, [denoiser.net.mean, denoiser.net.v])

    (mean, v), (mean_again, v_again) = gradients(0.001), gradients(0.002)
    assert torch.equal(mean, mean_again)
    assert bool((v != 0).all())
    torch.testing.assert_close(v_again, 2 * v, rtol=1e-5, atol=0)  # the bound is summed in float32


# --- The pieces -------------------------------------------------------------------------------------------------------


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


# --- Known densities --------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("schedule", [BetaSchedule(linear(1000)), BetaSchedule(cosine(1000))], ids=["linear", "cosine"])
def test_bits_per_dim_of_an_exact_gaussian_model_is_its_entropy(schedule):
    """With the exact variance every term is what it must be, and the bound is tight: within 1% of 7.04 bits."""
    total = total_of(ExactGaussian(schedule), LearnedRange(), levels(400))
    assert total.mean().item() == pytest.approx(ENTROPY, rel=0.01)
    assert total.mean().item() > ENTROPY - 4 * total.std().item() / 20


@pytest.mark.filterwarnings("ignore:this schedule keeps")
def test_a_chain_that_keeps_signal_costs_what_its_prior_gets_wrong():
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


def test_the_standard_error_of_a_share_of_the_times_is_its_spread_over_seeds():
    """The choice of times is most of the error. Were it the same for all images, none of it would show between them."""
    n, seeds = 40, 30
    found = torch.stack([shares_of(range(n), 4, seed) for seed in range(seeds)])
    whole = shares_of(range(400), None)
    reported = (found.var(dim=1).mean() / n).sqrt().item()
    assert found.mean(dim=1).std().item() == pytest.approx(reported, rel=4 / math.sqrt(2 * seeds))
    error = math.hypot(reported / math.sqrt(seeds), whole.std().item() / 20)
    assert found.mean().item() == pytest.approx(whole.mean().item(), abs=4 * error)
    assert found.std() > 3 * whole.std()


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


PATHS = {
    "vp": (VPSchedule(t_min=1e-5), Linspace(60)),
    "flow": (FlowSchedule(t_min=1e-5), Linspace(60)),
    "edm": (EDMSchedule(sigma_min=1e-4), Karras(60, sigma_min=1e-4)),
}


@pytest.mark.parametrize(("path", "spacing"), PATHS.values(), ids=PATHS)
def test_flow_likelihood_of_a_gaussian_is_its_density(path, spacing, gaussian_denoiser):
    """Image by image: -log2 of the normal density at the dequantised image, plus log2(127.5). The Jacobian is a
    multiple of the identity, so Hutchinson's estimate is exact too; at t_max x_t is not quite the prior's."""
    gen = torch.Generator().manual_seed(2)
    x_0 = levels(20)
    u = torch.rand(x_0.shape, generator=gen, dtype=torch.float64)
    probe = torch.randint(2, x_0.shape, generator=gen).double() * 2 - 1
    found = flow_bits_per_dim(gaussian_denoiser(path, MU, S), spacing, x_0, None, u, probe)
    x = x_0 + (u - 0.5) / 127.5
    density = torch.distributions.Normal(f64(MU), f64(S)).log_prob(x).flatten(1).mean(dim=1)
    torch.testing.assert_close(found, -density / math.log(2) + math.log2(127.5), rtol=1e-3, atol=0)


class Correlated(torch.nn.Module):
    """The exact denoiser of two pixels of variance 0.25 and correlation 0.9: its Jacobian is not diagonal."""

    schedule = FlowSchedule()
    covariance = 0.25 * f64([[1, 0.9], [0.9, 1]])

    def forward(self, x_t, t, y=None):
        (alpha, sigma), x = (z.view(-1, 1, 1) for z in self.schedule(t)), x_t.flatten(1)[..., None]
        inverse = torch.linalg.inv(alpha**2 * self.covariance + sigma**2 * torch.eye(2))
        x_0 = (alpha * self.covariance @ inverse @ x).view_as(x_t)
        return Estimate(x_0, (x_t - alpha[..., None] * x_0) / sigma[..., None])


def test_hutchinsons_estimate_has_the_right_mean_for_correlated_pixels():
    """Signs of one kind would add the off-diagonal half of the Jacobian to its trace: 1.06 bits a pixel here."""
    denoiser, n, gen = Correlated(), 3000, torch.Generator().manual_seed(0)
    data = torch.distributions.MultivariateNormal(torch.zeros(2).double(), denoiser.covariance)
    x = (torch.randn(n, 2, generator=gen).double() @ torch.linalg.cholesky(denoiser.covariance).T).view(n, 1, 1, 2)
    noise = iter([torch.zeros_like(x), torch.randn(x.shape, generator=gen)])  # in the middle of each level
    found = FlowBits(LogSNR(40, None, 1000.0))(denoiser, x, None, lambda: next(noise))
    error = found - (-data.log_prob(x.view(n, 2)) / 2 / math.log(2) + math.log2(127.5))
    assert error.std() > 0.3
    assert abs(error.mean()) < 4 * error.std() / n**0.5


def chosen(group, choice):
    """A YAML of conf/ built beside images of 32 pixels."""
    whole = OmegaConf.create({"data": {"shape": [1, 32, 32]}, group: OmegaConf.load(CONF / group / f"{choice}.yaml")})
    return build(OmegaConf.to_container(whole[group], resolve=True))


# A chain's YAML has betas.
CONTINUOUS = sorted(p.stem for p in (CONF / "schedule").glob("*.yaml") if "betas" not in OmegaConf.load(p))


@pytest.mark.parametrize("path", CONTINUOUS)
def test_likelihood_flow_is_accurate_as_shipped(path, gaussian_denoiser):
    """Image by image the density of x at t_min, which the network knows, for wide and for narrow data alike. What is
    left is that x at the noisiest time is not quite the prior's."""
    schedule, bits = chosen("schedule", path), chosen("likelihood", "flow")
    s = f64([0.5, 0.1, 0.02, 0.005]).repeat(2).view(-1, 1, 1, 1)
    alpha, sigma = schedule(f64([schedule.t_min]))
    marginal = torch.distributions.Normal(alpha * MU, (alpha**2 * s**2 + sigma**2).sqrt())
    x = marginal.mean + marginal.stddev * torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = iter([torch.zeros_like(x), torch.ones_like(x)])  # in the middle of each level, and a probe
    bits.check(schedule)
    found = bits(gaussian_denoiser(schedule, MU, s), x, None, lambda: next(noise))
    expected = -marginal.log_prob(x).flatten(1).mean(dim=1) / math.log(2) + math.log2(127.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1.2e-3)


def test_times_that_leave_out_part_of_the_way_are_refused():
    FlowBits(LogSNR(2, sigma_min=None)).check(EDMSchedule())
    with pytest.raises(UserError, match=r"likelihood.spacing.steps=1 must be at least 2"):
        FlowBits(LogSNR(1, sigma_min=None)).check(EDMSchedule())
    for spacing, end in ((Trailing(100), "0.00222357"), (LogSNR(100, sigma_min=0.01), "0.01")):
        with pytest.raises(UserError, match=rf"ends at t={end}, not at the schedule's t_min=0.002"):
            FlowBits(spacing).check(EDMSchedule())
        with pytest.raises(UserError, match=r"likelihood.spacing.sigma_min=null"):
            flow_bits_per_dim(Denoiser(nn.Identity(), EDMSchedule(), Eps()), spacing, X_0, None, X_0, X_0)


def test_what_has_no_likelihood_is_refused(gaussian_denoiser):
    x_0 = levels(1)
    with pytest.raises(UserError, match="needs a chain of whole steps"):
        total_of(gaussian_denoiser(FlowSchedule(), MU, S), FixedSmall(), x_0)
    with pytest.raises(UserError, match="needs continuous time"):
        flow_bits_per_dim(gaussian_denoiser(BetaSchedule(cosine(10)), MU, S), Linspace(5), x_0, None, x_0, x_0)
    with pytest.raises(UserError, match="learn_variance=true"):
        VariationalBound(LearnedRange()).term(BetaSchedule(cosine(10)), x_0, f64([3.0]), Estimate(x_0, x_0))

"""The likelihood by the probability flow ODE against known densities."""

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
from inkwash.likelihood.flow import FlowBits, flow_bits_per_dim
from inkwash.process.predictions import Eps
from inkwash.process.schedules import EDMSchedule, FlowSchedule, VPSchedule
from inkwash.process.spacing import Karras, Linspace, LogSNR, Trailing

CONF = Path(config_dir())
assert train  # its import makes the schema and the resolver known
INDEX = torch.arange(2 * 3 * 4 * 4, dtype=torch.float64).view(2, 3, 4, 4)
X_0 = (7 * INDEX**2 + 13 * INDEX) % 256 / 127.5 - 1


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


MU, S = 0.1, 0.25


def levels(n, seed=0):
    x = MU + S * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (127.5 * x + 127.5).round().clamp(0, 255) / 127.5 - 1


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


def test_hutchinsons_estimate_is_unbiased():
    """Signs of one kind would add the off-diagonal half of the Jacobian to its trace: 1.06 bits a pixel here."""
    denoiser, n, gen = Correlated(), 3000, torch.Generator().manual_seed(0)
    data = torch.distributions.MultivariateNormal(torch.zeros(2).double(), denoiser.covariance)
    x = (torch.randn(n, 2, generator=gen).double() @ torch.linalg.cholesky(denoiser.covariance).T).view(n, 1, 1, 2)
    noise = iter([torch.zeros_like(x), torch.randn(x.shape, generator=gen)])  # in the middle of each level
    found = FlowBits(LogSNR(40, None, 1000.0))(denoiser, x, None, lambda: next(noise))
    error = found - (-data.log_prob(x.view(n, 2)) / 2 / math.log(2) + math.log2(127.5))
    assert error.std() > 0.3
    assert abs(error.mean()) < 4 * error.std() / n**0.5


def test_several_probes_are_averaged():
    x, drawn = torch.zeros(2, 1, 1, 2, dtype=torch.float64), torch.randn(6, 2, 1, 1, 2)

    def bits(noise, probes):
        return FlowBits(LogSNR(3, None, 1000.0), probes)(Correlated(), x, None, iter(noise).__next__)

    each = torch.stack([bits(drawn[i : i + 2], 1) for i in (0, 2, 4)])
    torch.testing.assert_close(bits(drawn, 3), each.mean(dim=0), rtol=1e-12, atol=0)


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

"""RePaint where the right answer is known: the walk of the paper, and two correlated pixels."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from inkwash.config.paths import config_dir
from inkwash.denoiser import Estimate
from inkwash.editing.repaint import RePaint, Resampled
from inkwash.errors import UserError
from inkwash.process.betas import cosine
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.spacing import Trailing
from inkwash.process.variances import FixedLarge
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.dpm_solver import DPMSolverPP2M

CHAIN = BetaSchedule(cosine(1000))
WALKS = {
    (1, 1): [5, 4, 3, 2, 1, 0],
    (2, 1): [5, 4, 5, 4, 3, 4, 3, 2, 3, 2, 1, 2, 1, 0],
    (3, 2): [5, 4, 3, 5, 4, 3, 5, 4, 3, 2, 1, 3, 2, 1, 3, 2, 1, 0],
    (2, 3): [5, 4, 5, 4, 3, 2, 1, 4, 3, 2, 1, 0],
    (2, 9): [5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 0],
}


@pytest.mark.parametrize(("settings", "walk"), WALKS.items())
def test_the_walk(settings, walk):
    """Every stretch of j steps above t = 1 is walked r times, counted from the data's end; t = 0 is reached once."""
    times = Resampled(Trailing(5), *settings)(CHAIN)
    assert (times / 200).tolist() == walk
    falls = sum(t > s for t, s in pairwise(walk))
    assert falls == settings[0] * 4 + 1


def test_a_single_step_has_nothing_to_walk_again():
    assert Resampled(Trailing(1), 5, 3)(CHAIN).tolist() == [1000, 0]


# --- Two pixels with correlation 0.8, the first of them known ---------------------------------------------------------

N, RHO, S, MU, KNOWN = 3000, 0.8, 0.5, (0.2, -0.1), 1.0
MEAN, STD = MU[1] + RHO * (KNOWN - MU[0]), S * (1 - RHO**2) ** 0.5


class TwoPixels(nn.Module):
    """The exact E[x_0 | x_t] of two correlated pixels: mu + alpha C (alpha^2 C + sigma^2)^-1 (x_t - alpha mu)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t, y=None):
        covariance = S**2 * torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
        mu, (alpha, sigma) = torch.tensor(MU, dtype=torch.float64), (c[0, 0, 0, 0] for c in self.schedule(t[:1]))
        gain = alpha * covariance @ (alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)).inverse()
        x_0 = mu + (x_t - alpha * mu) @ gain.T
        return Estimate(x_0, (x_t - alpha * x_0) / sigma)


def painted(path, sampler, resamples, jump_length=1):
    """The unknown pixel: how many standard deviations its mean is off, and its variance against the true one."""
    x_0, generator = torch.zeros(N, 1, 1, 2, dtype=torch.float64), torch.Generator().manual_seed(0)
    x_0[..., 0] = KNOWN
    noise = lambda: torch.randn(x_0.shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x = RePaint(sampler, x_0, torch.tensor([[False, True]]), resamples, jump_length)(TwoPixels(path), noise)
    assert torch.equal(x[..., 0], x_0[..., 0])
    return (x[..., 1].mean().item() - MEAN) / STD, x[..., 1].var().item() / STD**2


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("path", [CHAIN, FlowSchedule()], ids=["cosine", "flow"])
def test_resampling_leads_to_the_conditional_mean_and_variance(path):
    """RePaint's bias and its cure, in 40 ancestral steps: the mean is 0.8 standard deviations off, then under 0.15.

    The variance is half too large at first, and within 15% in the end. Standard errors are 0.02 and 3%.
    """
    sampler = Ancestral(Trailing(40), FixedLarge(), clip=None)
    (none, spread), (some, _), (many, final) = (painted(path, sampler, r) for r in (1, 4, 16))
    assert none < -0.7
    assert spread > 1.3
    assert -0.4 < some < -0.1
    assert abs(many) < 0.15
    assert final == pytest.approx(1, abs=0.15)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("sampler", [DDIM, DPMSolverPP2M])
def test_deterministic_samplers_paint_too(sampler):
    """They draw noise at the jumps."""
    (before, _), (after, variance) = (painted(CHAIN, sampler(Trailing(40), clip=None), r) for r in (1, 10))
    assert before < -1
    assert abs(after) < 0.3
    assert variance == pytest.approx(1, abs=0.25)


SAMPLERS = sorted(path.stem for path in (Path(config_dir()) / "sampler").glob("*.yaml"))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_the_menu_paints(name, compose_config):
    """And is nearer to the truth for walking again, though a method of higher order loses its order at every jump."""
    choice = (f"sampler={name}", "spacing=karras", "spacing.steps=12", "sampler.clip=null", "run=x")
    sampler = instantiate(compose_config(*choice, config_name="sample")["sampler"], _convert_="all")
    (before, _), (after, _) = (painted(CHAIN, sampler, r) for r in (1, 5))
    assert before < -0.5
    assert abs(after) < 0.8 * abs(before)


@pytest.mark.slow
def test_longer_jumps_help_as_well():
    sampler = Ancestral(Trailing(40), FixedLarge(), clip=None)
    assert abs(painted(CHAIN, sampler, 8, 3)[0]) < 0.4


def test_a_jump_makes_a_multistep_method_forget():
    """Its memory is of times that are not those before the next step."""
    seen = []

    class Spy(DPMSolverPP2M):
        def step(self, x_t, t, s, run):
            seen.append((t[0].item(), len(run.memory.get("seen", []))))
            return super().step(x_t, t, s, run)

    painted(CHAIN, Spy(Trailing(5), clip=None), 2, 4)
    assert seen == [(1000, 0), (800, 1), (600, 2), (400, 2), (1000, 0), (800, 1), (600, 2), (400, 2), (200, 2)]


@pytest.mark.parametrize("settings", [(0, 1), (1, 0)])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(UserError, match=r"task.resamples=. and task.jump_length=. must be at least 1"):
        Resampled(Trailing(5), *settings)

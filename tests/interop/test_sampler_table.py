"""Samplers at fixed steps as tables: the sums give what the sampler gives, for every sampler of conf/ on every path."""

import pytest
import torch

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance_scale import guided
from inkwash.interop.graphs import SamplerGraph
from inkwash.interop.sampler_table import tabulate
from inkwash.process.predictions import EDM, Eps, Flow, V
from inkwash.process.spacing import Karras, Trailing
from inkwash.process.variances import LearnedRange
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import ImageNoise, Sampler
from inkwash.samplers.ddim import DDIM
from support.networks import Wave
from support.samplers import SAMPLERS, Stubborn, sampler_of
from support.schedules import PATHS

PREDICTIONS = {"linear": Eps(), "cosine": V(), "flow": Flow(), "edm": EDM(), "vp": V()}
LABELS = torch.tensor([2, 0, -1])
FRESH = [("heun", {"S_churn": 2.0}), ("ddim", {"eta": 0.7})]


def both(sampler, denoiser, guidance, labels=LABELS):
    """The images of the table and those of the sampler, from the same noise."""
    graph = SamplerGraph(denoiser, sampler, guidance)
    noise, again = (ImageNoise(0, range(3), (2, 4, 4)) for _ in range(2))
    inputs = {"noise": noise(), "labels": labels}
    if graph.num_noises:
        inputs["noises"] = torch.stack([noise() for _ in range(graph.num_noises)])
    return graph(**inputs), sampler(guided(denoiser, guidance), again, labels)


@pytest.mark.parametrize("path", PREDICTIONS)
@pytest.mark.parametrize(("name", "arguments"), [*((name, {}) for name in SAMPLERS), *FRESH])
def test_the_sums_are_the_sampler(name, arguments, path):
    denoiser = Denoiser(Wave(), PATHS[path], PREDICTIONS[path])
    for guidance, steps in ((2.5, 6), (1.0, 1)):
        # These two step in x_t / alpha_t: from sigma / alpha = 80 the rounding of float32 alone makes 4e-5.
        spacing = Karras(steps, sigma_max=10.0) if name in ("euler", "heun") else Trailing(steps)
        table, ours = both(sampler_of(name, spacing, **arguments), denoiser, guidance)
        torch.testing.assert_close(table, ours, rtol=1e-5, atol=1e-5)


def test_raw_eps_after_clipping():
    denoiser = Denoiser(Wave(), PATHS["linear"], Eps())
    table, ours = both(DDIM(Trailing(5), rederive_eps=False), denoiser, 1.0)
    torch.testing.assert_close(table, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 50, 1000])
def test_ddim_keeps_one_image(steps):
    """x_s = alpha_s x_0 + sigma_s eps: the state is x_t alone, of which nothing is in x_s."""
    table, schedule = tabulate(DDIM(Trailing(steps)), PATHS["linear"]), PATHS["linear"]
    assert table.updates.shape == (steps, 1, 4)
    alpha, sigma = schedule(torch.cat([table.times[1:], torch.zeros(1, dtype=torch.float64)]))
    torch.testing.assert_close(table.updates[:, 0, 1], alpha.flatten())
    torch.testing.assert_close(table.updates[:, 0, 2], sigma.flatten())
    assert not table.updates[:, :, [0, 3]].any()
    assert table.num_noises == 0


def test_ancestral_sampling_draws_noise_in_all_steps_but_the_last():
    table = tabulate(sampler_of("ancestral", Trailing(5)), PATHS["linear"])
    assert table.num_noises == 4
    assert table.draws[:4].tolist() == [0, 1, 2, 3]
    assert (table.updates[:4, 0, 3] > 0).all()
    assert not table.updates[4, :, 3].any()


class Twice(Sampler):
    """A sampler that draws noise twice in a step."""

    def step(self, x_t, t, s, run):
        return run.denoise(x_t, t).x_0 + 0.1 * run.noise() + 0.1 * run.noise()


def test_what_is_no_fixed_sum_is_refused_by_name():
    with pytest.raises(UserError, match="Ancestral with a learned variance cannot be written to a file"):
        tabulate(Ancestral(Trailing(3), LearnedRange()), PATHS["linear"])
    with pytest.raises(UserError, match="sampler: it draws noise twice between two evaluations"):
        tabulate(Twice(Trailing(3)), PATHS["linear"])
    # Its table can be made, but gives other images: programs.py compares them.
    denoiser = Denoiser(Wave(), PATHS["linear"], Eps())
    table, ours = both(Stubborn(Trailing(3), clip=None), denoiser, 1.0)
    assert (table - ours).abs().max() > 0.1

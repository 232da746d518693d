"""The loop that samplers share: noise of each image, any batch size, progress, refusals."""

import pytest
import torch

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.betas import linear
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule, FlowSchedule
from inkwash.process.spacing import Karras, Leading, LogSNR, Trailing
from inkwash.process.variances import LearnedRange
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate
from inkwash.samplers.unipc import UniPC
from support.networks import Wave
from support.samplers import SAMPLERS, sampler_of

LINEAR = BetaSchedule(linear(1000))
DENOISER = Denoiser(Wave(), LINEAR, V())
LABELS = torch.arange(12) % 5


def run_series(indices, batch_size, sampler, seed=0):
    batches = generate(DENOISER, sampler, (3, 4, 4), indices, LABELS[list(indices)], 1.0, seed, batch_size)
    return torch.cat([images for _, images in batches])


RANDOM = [("heun", {"S_churn": 3.0}), ("ddim", {"eta": 1.0})]


@pytest.mark.parametrize(("name", "arguments"), [*((name, {}) for name in SAMPLERS), *RANDOM])
def test_image_i_is_the_same_at_any_batch_size_and_on_any_rank(name, arguments):
    """And whatever was sampled before: a sampler keeps nothing from one batch to the next."""
    sampler = sampler_of(name, Trailing(6), **arguments)
    whole = run_series(range(12), 12, sampler)
    assert torch.equal(whole, run_series(range(12), 5, sampler))
    for world in (2, 3):
        ranks = [run_series(range(rank, 12, world), 4, sampler) for rank in range(world)]
        merged = torch.empty_like(whole)
        for rank, images in enumerate(ranks):
            merged[rank::world] = images
        assert torch.equal(whole, merged)
    assert not torch.equal(whole, run_series(range(12), 12, sampler, seed=1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_images_are_float32_and_of_one_step_too(name):
    for steps in (1, 2, 5):
        x = sampler_of(name, Trailing(steps))(DENOISER, ImageNoise(0, range(2), (1, 4, 4)))
        assert x.dtype == torch.float32
        assert x.isfinite().all()


def test_sampling_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    run_series(range(3), 3, DDIM(Trailing(3), eta=1.0))
    assert torch.equal(before, torch.get_rng_state())


def test_noise_of_an_image_goes_on():
    noise = ImageNoise(0, [7], (1, 2, 2))
    assert not torch.equal(noise(), noise())


def test_progress_is_told_of_every_step():
    calls = []
    DDIM(Trailing(7))(DENOISER, ImageNoise(0, range(2), (3, 4, 4)), on_step=lambda: calls.append(1))
    assert len(calls) == 7


def sample(spacing, schedule=LINEAR):
    return DDIM(spacing)(Denoiser(Wave(), schedule, V()), ImageNoise(0, range(1), (1, 2, 2)))


@pytest.mark.parametrize(("mistake", "message"), [
    (lambda: DDIM(Trailing(5), eta=-0.5), "sampler.eta=-0.5 must lie between 0 and 1"),
    (lambda: DDIM(Trailing(5), eta=1.5), "sampler.eta=1.5 must lie between 0 and 1"),
    (lambda: DDIM(Trailing(5), eta=float("nan")), "sampler.eta=nan must lie between 0 and 1"),
    (lambda: UniPC(Trailing(5), order=4), "sampler.order=4 must be 1, 2 or 3"),
    (lambda: Trailing(0), "spacing.steps=0 must be at least 1"),
    (lambda: sample(Trailing(1001)), "spacing.steps=1001 is more than the schedule's T=1000"),
    (lambda: sample(Leading(2000)), "spacing.steps=2000 is more than the schedule's T=1000"),
    (lambda: sample(Trailing(None), FlowSchedule()), "spacing.steps must be a number: .* continuous"),
    (lambda: sample(Karras(900)), "spacing.steps=900: so many steps fall on the same times"),
    (lambda: sample(LogSNR(900)), "spacing.steps=900: so many steps fall on the same times"),
    (lambda: linear(0), "schedule.betas.T=0 must be a whole number of steps, at least 1"),
    (lambda: linear(-3), "schedule.betas.T=-3 must be a whole number of steps, at least 1"),
    (lambda: Ancestral(Trailing(5), LearnedRange())(DENOISER, ImageNoise(0, range(1), (1, 2, 2))),
     "train with model.learn_variance=true"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(mistake, message):
    with pytest.raises(UserError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)

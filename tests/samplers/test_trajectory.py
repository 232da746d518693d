"""The recorded way from noise to data."""

import pytest
import torch

from inkwash.images import to_uint8
from inkwash.process.spacing import Trailing
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate
from inkwash.samplers.heun import Heun
from inkwash.samplers.trajectory import Trajectory
from support.schedules import PATHS


@pytest.mark.parametrize("steps", [1, 5, 23, 24, 25, 100, 333])
def test_it_keeps_a_bounded_number_evenly_spaced(gaussian_denoiser, steps):
    denoiser = gaussian_denoiser(PATHS["linear"], 0.1, 0.5)
    way = Trajectory(PATHS["linear"], images=2, frames=12)
    DDIM(Trailing(steps))(denoiser, ImageNoise(0, range(3), (1, 4, 4)), watch=way)
    times = Trailing(steps)(PATHS["linear"]).tolist()[:-1]
    assert len(way.times) <= 24
    assert len(way.times) >= min(steps, 12)
    stride = times.index(way.times[1]) if len(way.times) > 1 else 1
    assert way.times == times[::stride][: len(way.times)]
    assert all(x.shape == (2, 1, 4, 4) for x in (*way.x_t, *way.x_0))


def test_a_batch_of_few_images_is_recorded_whole(gaussian_denoiser):
    """Grids are drawn a micro-batch at a time, of which the first is watched."""
    way, shape, options = Trajectory(PATHS["flow"], images=4), (1, 4, 4), {"batch_size": 3, "seed": 1}
    batches = generate(
        gaussian_denoiser(PATHS["flow"], 0.1, 0.5), DDIM(Trailing(5)), shape, range(8), watch=way, **options
    )
    images = torch.cat([batch for _, batch in batches])
    way.finish(images)
    assert {x.shape for x in (*way.x_t, *way.x_0)} == {(3, 1, 4, 4)}
    assert len(way.times) == 6
    assert torch.equal(way.x_t[-1], images[:3])


def test_watching_changes_nothing(gaussian_denoiser):
    denoiser = gaussian_denoiser(PATHS["edm"], 0.1, 0.5)
    sampler = Heun(Trailing(6), clip=None)
    plain = sampler(denoiser, ImageNoise(0, range(3), (1, 4, 4)))
    watched = sampler(denoiser, ImageNoise(0, range(3), (1, 4, 4)), watch=Trajectory(PATHS["edm"]))
    assert torch.equal(plain, watched)


def test_it_shows_noise_of_unit_variance_first_and_the_images_last(gaussian_denoiser):
    schedule = PATHS["edm"]  # whose noise has a deviation of 80
    way, seen = Trajectory(schedule, images=4), []
    sampler = DDIM(Trailing(8))
    noise = ImageNoise(3, range(4), (1, 8, 8))

    def watch(x_t, t, x_0):
        seen.append((x_t, float(t[0]), x_0))
        way(x_t, t, x_0)

    images = to_uint8(sampler(gaussian_denoiser(schedule, 0.1, 0.5), noise, watch=watch))
    way.finish(images)
    assert way.times == [*(t for _, t, _ in seen), 0.0]
    assert torch.equal(way.x_t[0], to_uint8(seen[0][0] / (1 + 80.0**2) ** 0.5))
    assert torch.equal(way.x_0[0], to_uint8(seen[0][2]))
    assert torch.equal(way.x_t[-1], images)

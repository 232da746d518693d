import itertools

import pytest
import torch

from inkwash.data.images import Images
from inkwash.metrics.extractors import pyramid as pyramid_module
from inkwash.metrics.extractors.pyramid import PyramidFeatures, pyramid
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.moments import FeatureStatistics


def random_images(n, shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draws), torch.full((n,), -1))


def prepared(images):
    extractor = PyramidFeatures()
    extractor.prepare(images, images)
    return extractor


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((1, 8, 8), 48), ((2, 9, 15), 64), ((4, 28, 28), 128), ((3, 1, 2), 48), ((3, 200, 70), 176)],
    ids=str,
)
def test_any_channels_and_sizes_without_labels(shape, dim):
    images, state = random_images(5, shape), torch.get_rng_state()
    extractor = prepared(images)
    features = extractor(images.images)
    assert features.shape == (5, dim) == (5, extractor.dim)
    assert features.isfinite().all()
    assert features.dtype == torch.float32
    assert torch.equal(state, torch.get_rng_state())


def test_the_levels_are_what_blurring_takes_away():
    """Only a plane survives all levels: they are zero inside, and a checkerboard is in the finest one alone."""
    x = torch.arange(32.0).expand(1, 1, 32, 32) / 16 - 1
    *levels, rest = pyramid(x)
    assert [level.shape[-1] for level in levels] == [32, 16, 8]
    assert rest.shape == (1, 1, 4, 4)
    assert levels[0][..., 4:-4].std(dim=-1).max() < 1e-6
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    fine, *coarse, rest = pyramid(board.expand(1, 1, 32, 32))
    assert fine[..., 2:-2, 2:-2].abs().min() > 0.9
    assert max(level.abs().max() for level in (*coarse, rest)) < 0.2


def test_features_of_training_images_have_mean_0_and_variance_1(train, heldout):
    extractor = prepared(train)
    features = extractor(train.images)
    assert features.mean(dim=0).abs().max() < 0.02
    assert features.std(dim=0).max() < 1.02
    assert (features.std(dim=0) > 0.98).double().mean() > 0.8  # what varies by less than a grey level stays small


def test_the_hash_tells_the_images_scales(train, heldout):
    assert prepared(train).hash == prepared(train).hash != prepared(heldout).hash


def test_memory_does_not_grow_with_the_batch(monkeypatch):
    images = random_images(9, (3, 16, 24))
    extractor = prepared(images)
    whole = extractor(images.images)
    monkeypatch.setattr(pyramid_module, "AT_ONCE", 2 * 16 * 24)
    sizes, original = [], extractor._of
    monkeypatch.setattr(extractor, "_of", lambda x: sizes.append(len(x)) or original(x))
    torch.testing.assert_close(extractor(images.images), whole)
    assert max(sizes) == 2


def damages():
    noise = torch.Generator().manual_seed(1)
    return {
        "blur": lambda x, s: torch.nn.functional.avg_pool2d(x, 3, 1, 1) * s + x * (1 - s),
        "noise": lambda x, s: x + 80 * s * torch.randn(x.shape, generator=noise),
        "contrast": lambda x, s: 127.5 + (x - 127.5) * (1 - 0.6 * s),
        "few": lambda x, s: x[torch.arange(len(x)) % max(1, round(len(x) * (1 - s) ** 2))],
    }


@pytest.mark.parametrize("damage", ["blur", "noise", "contrast", "few"])
def test_a_distance_grows_with_the_damage(train, heldout, damage):
    """A small part of experiments/extractors."""
    eyes = prepared(train)
    statistics = FeatureStatistics(eyes.dim)
    statistics.update(eyes(train.images))
    values = []
    for strength in (0, 0.3, 0.6, 0.9):
        images = damages()[damage](heldout.images.float(), strength).round().clamp(0, 255).to(torch.uint8)
        metric = FrechetDistance(statistics.compute())
        metric.update(eyes(images))
        values.append(metric.compute())
    assert all(b > 1.2 * a for a, b in itertools.pairwise(values)), values

import pytest
import torch

from inkwash.data.images import Images
from inkwash.metrics.extractors.view import View, scaled_copy, some_of


def random_images(n, shape):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "sides", "folded"),
    [
        ((1, 8, 8), (8, 8), (1, 8, 8)),
        ((3, 9, 15), (9, 15), (3, 9, 15)),
        ((3, 16, 16), (16, 16), (12, 8, 8)),
        ((1, 28, 28), (32, 32), (16, 8, 8)),
        ((3, 9, 20), (16, 24), (18, 8, 8)),
        ((2, 500, 8), (32, 8), (8, 8, 8)),
    ],
)
def test_sizes(shape, sides, folded):
    view, images = View(shape), random_images(3, shape)
    scaled = view.scale(images)
    assert (view.sides, view.folded) == (sides, folded)
    assert scaled.shape == (3, shape[0], *sides)
    assert scaled.dtype == torch.uint8
    assert view.fold(scaled).shape == (3, *folded)
    assert torch.equal(view.scale(scaled), scaled)


def test_small_images_are_seen_as_they_are_and_folding_loses_nothing():
    for shape in ((1, 8, 8), (2, 16, 16)):
        view, images = View(shape), random_images(4, shape)
        assert torch.equal(view.scale(images), images)
        folded = view.fold(images)
        assert torch.equal(folded, images if shape[1] == 8 else torch.nn.functional.pixel_unshuffle(images, 2))


def test_padding_repeats_the_border_and_large_images_are_averaged():
    images = random_images(2, (1, 28, 28))
    scaled = View((1, 28, 28)).scale(images)
    assert torch.equal(scaled[..., :28, :28], images)
    assert torch.equal(scaled[..., 28:, :28], images[..., 27:, :].expand(-1, -1, 4, -1))
    images = random_images(2, (1, 64, 96))
    means = images.view(2, 1, 32, 2, 32, 3).double().mean(dim=(3, 5))
    assert (View((1, 64, 96)).scale(images) - means).abs().max() <= 0.5 + 1e-4


def test_a_copy_is_the_same_every_time_and_bounded(monkeypatch):
    images = Images(random_images(50, (3, 64, 64)), torch.arange(50))
    assert some_of(images, 50, "x") == [*range(50)]
    chosen = some_of(images, 20, "x")
    assert len({*chosen}) == 20
    assert chosen == some_of(images, 20, "x") != some_of(images, 20, "y")
    monkeypatch.setattr("inkwash.metrics.extractors.view.COPIES", 20)
    copy = scaled_copy(images, View((3, 64, 64)), "x")
    assert copy.labels.tolist() == chosen
    assert torch.equal(copy.images, View((3, 64, 64)).scale(images.images[chosen]))

import pytest
import torch

from inkwash.images import to_float, to_uint8
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.reference import frechet_floor, reference_statistics


class Pixels(FeatureExtractor):
    """The pixels themselves, counting the images seen."""

    name, hash, dim = "pixels", "0", 64

    def __init__(self):
        super().__init__()
        self.seen = 0

    def features(self, images):
        self.seen += len(images)
        return images.flatten(1).float()


def distance(extractor, reference, images):
    metric = FrechetDistance(reference)
    for batch in images.split(128):
        metric.update(extractor(batch))
    return metric.compute()


def test_every_image_counts_exactly_once(heldout, tmp_path):
    extractor = Pixels()
    moments = reference_statistics(extractor, heldout, tmp_path)
    pixels = heldout.images.flatten(1).double()
    assert moments.n == extractor.seen == 450
    torch.testing.assert_close(moments.mean, pixels.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.covariance, torch.cov(pixels.T), rtol=1e-9, atol=1e-9)


def test_statistics_are_read_back_until_something_changes(train, heldout, tmp_path):
    extractor = Pixels()
    first = reference_statistics(extractor, heldout, tmp_path)
    second = reference_statistics(extractor, heldout, tmp_path)
    assert extractor.seen == 450
    assert torch.equal(first.covariance, second.covariance)
    reference_statistics(extractor, train, tmp_path)  # other data
    assert extractor.seen == 450 + 1347
    extractor.hash = "1"  # other weights
    reference_statistics(extractor, heldout, tmp_path)
    assert extractor.seen == 450 + 1347 + 450


def test_a_choice_of_images_is_fixed_and_spread(train, tmp_path):
    moments = [reference_statistics(Pixels(), train, tmp_path / folder, num_images=300) for folder in "ab"]
    assert moments[0].n == 300
    assert torch.equal(moments[0].mean, moments[1].mean)
    first = train.images[:300].flatten(1).double().mean(0)
    assert not torch.allclose(moments[0].mean, first)  # sets are often sorted by class


def test_the_distance_orders_images_by_quality(classifier, train, heldout, tmp_path):
    reference = reference_statistics(classifier, heldout, tmp_path)
    draws = torch.Generator().manual_seed(0)
    x = to_float(heldout.images)
    noise = torch.randn(x.shape, generator=draws)
    itself = distance(classifier, reference, heldout.images)
    floor = frechet_floor(classifier, train, reference, tmp_path)
    noisy = distance(classifier, reference, to_uint8(x + 0.3 * noise))
    assert 0 <= itself < 1e-3
    assert 0.01 < floor < 1
    assert floor < frechet_floor(classifier, train, reference, tmp_path, num_images=450)  # fewer images, more bias
    assert noisy > 5 * floor
    assert distance(classifier, reference, to_uint8(noise)) > 50 * floor


def test_images_in_floats_score_as_their_bytes(classifier, train, heldout, tmp_path):
    reference = reference_statistics(classifier, heldout, tmp_path)
    value = distance(classifier, reference, train.images)
    assert distance(classifier, reference, to_uint8(to_float(train.images))) == pytest.approx(value, rel=1e-9)

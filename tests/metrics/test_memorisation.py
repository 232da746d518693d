import pytest
import scipy.stats
import torch

from inkwash.metrics.extractors.pixels import PixelFeatures
from inkwash.metrics.memorisation import Memorisation, closer_share
from inkwash.metrics.suite import Suite


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def measured(train, heldout, fake, **options):
    metric = Memorisation(train, heldout, **options)
    for index in torch.arange(len(fake)).split(37):
        metric.update(index, fake[index])
    return metric, metric.compute()


def test_both_shares_against_their_definitions():
    train, heldout, fake = normal(80, 3, 0), normal(50, 3, 1), 0.8 * normal(60, 3, 2)
    metric, values = measured(train, heldout, fake, ratio=0.5)
    d_fake, d_real = ((x[:, None] - train).double().norm(dim=2).sort(dim=1).values for x in (fake, heldout))
    copies = (d_fake[:, 0] / d_fake[:, 1] <= 0.5).double().mean().item()
    assert 0 < copies < 1
    assert values["memorised"] == pytest.approx(copies, rel=1e-12)
    assert metric.fractions[1] == pytest.approx((d_real[:, 0] / d_real[:, 1] <= 0.5).double().mean().item(), rel=1e-12)
    pairs = (d_fake[:, :1] < d_real[:, 0]).double().mean().item()
    assert values["closer_than_heldout"] == pytest.approx(pairs, rel=1e-12)
    test = scipy.stats.mannwhitneyu(d_real[:, 0], d_fake[:, 0], method="asymptotic", use_continuity=False)
    fake_copies, real_copies = ((d[:, 0] / d[:, 1] <= 0.5).sum().item() for d in (d_fake, d_real))
    table = [[fake_copies, 60 - fake_copies], [real_copies, 50 - real_copies]]
    z = scipy.stats.chi2_contingency(table, correction=False).statistic ** 0.5
    assert metric.z[0] == pytest.approx(z if fake_copies / 60 > real_copies / 50 else -z, rel=1e-9)
    assert abs(metric.z[1]) == pytest.approx(scipy.stats.norm.isf(test.pvalue / 2), rel=1e-9)


def test_ties_count_half():
    assert closer_share(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0])) == pytest.approx((2 + 1 + 0) / 6)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_a_planted_leak_is_flagged(train, heldout, share):
    """Training images among the samples, in the features of a metric and in pixels."""
    leaked = round(share * 450)
    images = torch.cat([train.images[:leaked], heldout.images[leaked:]])
    pixels = PixelFeatures()
    metric, values = measured(*(pixels(x) for x in (train.images, heldout.images, images)))
    assert values["memorised"] == pytest.approx(share, abs=0.005)
    assert metric.flagged
    assert "are copies of training images, 0.00% of the held-out ones" in metric.notes()[0]
    closer = [note for note in metric.notes() if "closer to training images than held-out ones are" in note]
    assert len(closer) == (metric.z[1] > 3)
    assert len(closer) == 1 or share < 1


def test_near_copies_are_flagged_in_features_too(train, heldout, classifier):
    """One grey level less in every pixel that is not black."""
    images = torch.cat([train.images[:100].clamp(min=1) - 1, heldout.images[100:]])
    metric, values = measured(*(classifier(x) for x in (train.images, heldout.images, images)))
    assert values["memorised"] > 0.15
    assert metric.flagged


@pytest.mark.parametrize("levels", [1, 255], ids=["levels", "divided"])
def test_mirror_images_are_copies(train, heldout, levels):
    """denoising-diffusion-pytorch#17, edm#17: mirrored copies of training images looked newer than held-out ones."""
    images = torch.cat([train.images[:200].flip(-1), heldout.images[200:]])
    metric, values = measured(*(x.flatten(1).double() / levels for x in (train.images, heldout.images, images)))
    assert values["memorised"] == pytest.approx(200 / 450, abs=0.005)
    assert metric.flagged
    assert metric.protocol()["views"] == ["as it is", "mirrored"]
    assert not measured(*(x.flatten(1).double() / levels for x in (train.images, heldout.images, heldout.images)))[
        0
    ].flagged


def test_mirror_images_of_colour_are_copies():
    train, heldout = (torch.randint(256, (n, 3, 4, 4), generator=torch.Generator().manual_seed(n)) for n in (40, 30))
    _, values = measured(*(x.flatten(1).double() for x in (train, heldout, train[:20].flip(-1))))
    assert values["memorised"] == 1


@pytest.mark.parametrize("flip", [False, True])
def test_features_count_mirror_images_if_the_training_mirrors(train, heldout, classifier, tmp_path, flip):
    suite = Suite(classifier, [Memorisation(), Memorisation(extractor=PixelFeatures())], 100)
    suite.prepare(train, heldout, tmp_path, flip=flip)
    suite.update(range(100), train.images[:100].flip(-1))
    values = suite.compute()
    assert values["memorised_pixels_100"] == 1
    assert (values["memorised_classifier_100"] == 1) == flip
    records = suite.records(weights="ema", sampler="DDIM", steps=1, guidance=1.0)
    both = ["as it is", "mirrored"]
    assert records["memorised_pixels_100"].protocol["views"] == both
    assert records["memorised_classifier_100"].protocol["views"] == (both if flip else both[:1])


def test_features_that_are_no_pixels_have_one_view():
    """64 numbers are an image of 8 x 8 only if all of them are levels."""
    metric = Memorisation(normal(80, 64, 0).abs().clamp(max=1), normal(50, 64, 1))
    assert not metric.mirrors


@pytest.mark.parametrize(
    ("low", "high", "step", "pixels"),
    [(3, 200, 1, True), (0, 255, 1, True), (-1, 254, 1, False), (0, 256, 1, False), (3, 200, 0.5, False)],
)
def test_pixels_are_whole_levels_from_0_to_255(low, high, step, pixels):
    levels = torch.arange(low, high + step, step, dtype=torch.float64)
    features = levels[torch.arange(80 * 64) % len(levels)].view(80, 64)
    assert Memorisation(features, features).mirrors == pixels


@pytest.mark.parametrize("halves", [(0, 1), (1, 0)], ids=str)
def test_honest_images_are_not_flagged(train, heldout, classifier, halves):
    """Half of the held-out images as samples, the other half to compare with."""
    for eyes in (PixelFeatures(), classifier):
        known, real, fake = (eyes(x) for x in (train.images, *(heldout.images[half::2] for half in halves)))
        metric, values = measured(known, real, fake)
        assert values["memorised"] < 0.03
        assert abs(values["closer_than_heldout"] - 0.5) < 0.1
        assert not metric.flagged
        assert metric.notes() == []


def test_a_training_image_that_is_there_twice_is_still_a_copy():
    train = normal(30, 4, 0)
    assert measured(torch.cat([train, train]), normal(30, 4, 1), train[:10])[1]["memorised"] == 1


def test_training_images_leave_the_device_with_the_metric():
    metric = Memorisation(normal(30, 4, 0), normal(30, 4, 1))
    assert metric.to("meta").known.device.type == "meta"
    assert metric.state_dict() == {}


def test_only_two_distances_are_stored_of_an_image():
    metric, _ = measured(normal(80, 300, 0), normal(50, 300, 1), normal(60, 300, 2))
    assert metric.gathered().shape == (60, 2)

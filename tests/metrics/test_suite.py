import inspect
import json
import math
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest
import torch

import inkwash.metrics
from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.accuracy import ClassAccuracy
from inkwash.metrics.base import Measure
from inkwash.metrics.density_coverage import DensityCoverage
from inkwash.metrics.extractors.classifier import ClassifierFeatures
from inkwash.metrics.extractors.pixels import PixelFeatures
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.frechet_infinity import FrechetInfinity
from inkwash.metrics.frechet_interval import FrechetInterval
from inkwash.metrics.inception_score import InceptionScore
from inkwash.metrics.kernel import KernelDistance
from inkwash.metrics.memorisation import Memorisation
from inkwash.metrics.precision_recall import PrecisionRecall
from inkwash.metrics.suite import Suite
from support.extractors import SmallExtractor

GENERATION = {"weights": "ema", "sampler": "DDIM", "steps": 50, "guidance": 1.5, "seed": 3}
N = 60


def every_metric():
    return [
        FrechetDistance(), FrechetInterval(resamples=5), FrechetInfinity(), KernelDistance(subsets=3),
        InceptionScore(), PrecisionRecall(), DensityCoverage(), Memorisation(),
        Memorisation(extractor=PixelFeatures()), ClassAccuracy(),
    ]  # fmt: skip


def test_every_metric_there_is_is_among_them():
    modules = [import_module(f"inkwash.metrics.{p.stem}") for p in Path(inkwash.metrics.__file__).parent.glob("*.py")]
    classes = {c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)}
    named = {c for c in classes if issubclass(c, Measure) and c.keys}
    assert named == {type(metric) for metric in every_metric()}


def random_images(n, seed, shape=(3, 8, 8)):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draws)
    return Images(images, torch.full((n,), -1))


def evaluated(suite, images, labels=None, batch=16, order=None):
    suite.reset()
    order = torch.arange(len(images)) if order is None else order
    for index in order.split(batch):
        suite.update(index, images[index], None if labels is None else labels[index])
    return suite.compute()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    suite = Suite(SmallExtractor(), every_metric(), N)
    suite.prepare(random_images(80, 0), random_images(70, 1), tmp_path_factory.mktemp("cache"))
    return suite


def test_one_pass_of_the_extractor_serves_all_metrics(small):
    small.extractor.looks = 0
    values = evaluated(small, random_images(N, 2).images)
    assert small.extractor.looks == N
    assert list(values) == small.names
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
    assert "accuracy_small_60" not in values  # no labels


def test_names_tell_the_protocol(small):
    assert small.names == [
        "fd_small_60", "fd_low_small_60", "fd_high_small_60", "fd_infinity_small_60", "kid_small_60",
        "kid_std_small_60", "isc_small_60", "isc_std_small_60", "precision_small_60", "recall_small_60",
        "density_small_60", "coverage_small_60", "memorised_small_60", "closer_than_heldout_small_60",
        "memorised_pixels_60", "closer_than_heldout_pixels_60",
    ]  # fmt: skip


def test_values_are_those_of_each_metric_alone(small):
    images = random_images(N, 2).images
    values = evaluated(small, images)
    features, real = small.extractor(images), small.real.features()
    alone = FrechetDistance(small.real.moments()[0])
    alone.update(features)
    assert values["fd_small_60"] == pytest.approx(alone.compute(), rel=1e-9)
    for metric in (PrecisionRecall(real), DensityCoverage(real), KernelDistance(real, subsets=3)):
        metric.update(range(N), features)
        for key, value in metric.compute().items():
            assert values[f"{key}_small_60"] == pytest.approx(value, rel=1e-9)


def test_order_and_batches_of_images_do_not_matter(small):
    images = random_images(N, 2).images
    values = evaluated(small, images)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert evaluated(small, images, batch=7, order=order) == pytest.approx(values, rel=1e-6)


def test_the_samplers_autocast_does_not_reach_the_metrics(small):
    images = random_images(N, 2).images
    values = evaluated(small, images)
    with torch.autocast("cpu", torch.bfloat16):
        assert evaluated(small, images) == values


def test_two_metrics_of_one_name_are_refused(tmp_path):
    suite = Suite(SmallExtractor(), [PrecisionRecall(k=3), PrecisionRecall(k=5)], N)
    with pytest.raises(UserError, match="give precision_small_60, recall_small_60 twice"):
        suite.prepare(random_images(80, 0), random_images(70, 1), tmp_path)


def test_real_images_are_read_once_for_all_metrics_and_runs(tmp_path):
    for looks in (80 + 70 + 70, 0):  # features of both splits, moments of one
        suite = Suite(SmallExtractor(), every_metric(), N)
        suite.prepare(random_images(80, 0), random_images(70, 1), tmp_path)
        assert suite.extractor.looks == looks


@pytest.mark.parametrize("order", [range(N - 1), [*range(N), 5], [*range(N - 1), 0]], ids=["missing", "more", "twice"])
def test_each_image_must_be_seen_once(small, order):
    with pytest.raises(UserError, match="metrics of 60 images, but"):
        evaluated(small, random_images(N, 2).images, order=torch.tensor(list(order)))


def test_records_hold_the_whole_protocol(small):
    values = evaluated(small, random_images(N, 2).images)
    records = small.records(**GENERATION)
    assert list(records) == list(values)
    for name, record in records.items():
        plain = json.loads(json.dumps(asdict(record)))
        assert (plain["name"], plain["value"], plain["n_fake"]) == (name, values[name], N)
        assert {key: plain[key] for key in GENERATION} == GENERATION
    kid, memorised, isc = (records[f"{key}_small_60"] for key in ("kid", "memorised", "isc"))
    assert (kid.n_real, kid.reference, kid.data) == (70, "heldout", small.real.splits["heldout"].fingerprint)
    assert kid.protocol == {"subsets": 3, "subset_size": 30, "seed": 2020}
    assert (kid.extractor, kid.extractor_hash, kid.preprocessing) == ("small", "0123456789ab", "none")
    assert (memorised.n_real, memorised.reference) == (80, "train")
    assert records["memorised_pixels_60"].extractor == "pixels"
    assert (isc.n_real, isc.reference, isc.data) == (None, None, None)


def test_fewer_images_than_dimensions_are_noted(tmp_path):
    for n, n_real, sides in ((12, 40, ["generated"]), (13, 12, ["real"]), (9, 10, ["generated", "real"]), (13, 13, [])):
        suite = Suite(SmallExtractor(), [FrechetDistance()], n)
        suite.prepare(random_images(20, 0), random_images(n_real, 1), tmp_path)
        evaluated(suite, random_images(n, 2).images)
        (record,) = suite.records(**GENERATION).values()
        assert [note.split()[1] for note in record.notes] == sides


@pytest.mark.slow
def test_digits_in_the_features_of_their_classifier(classifier, train, heldout, tmp_path):
    suite = Suite(classifier, every_metric(), 450)
    suite.prepare(train, heldout, tmp_path, labelled=True)
    honest = evaluated(suite, heldout.images, heldout.labels)
    assert honest["accuracy_classifier_450"] == pytest.approx(classifier.heldout_accuracy)
    assert honest["fd_classifier_450"] < 1e-3
    assert 8 < honest["isc_classifier_450"] < 10
    assert honest["precision_classifier_450"] == honest["coverage_classifier_450"] == 1
    assert not any("copies" in note for record in suite.records(**GENERATION).values() for note in record.notes)
    leaked = evaluated(suite, train.images[:450], train.labels[:450])
    assert leaked["memorised_classifier_450"] == leaked["memorised_pixels_450"] == 1
    assert any("copies" in note for note in suite.records(**GENERATION)["memorised_pixels_450"].notes)
    uniform = random_images(450, 0, (1, 8, 8)).images
    # Black and white: on some processors the classifier that is trained there takes uniform noise for digits.
    noise = evaluated(suite, 255 * (uniform // 128), train.labels[:450])
    for key in ("precision", "coverage"):
        assert noise[f"{key}_classifier_450"] < 0.3 < honest[f"{key}_classifier_450"]
    noise = evaluated(suite, uniform, train.labels[:450])
    assert noise["kid_classifier_450"] > 100 * abs(honest["kid_classifier_450"])
    assert noise["accuracy_classifier_450"] < 0.25


def test_metrics_without_a_meaning_are_left_out_with_a_log_line(tmp_path, caplog):
    pixels = PixelFeatures()
    suite = Suite(pixels, [FrechetDistance(), InceptionScore(), ClassAccuracy(), PrecisionRecall(k=30)], 20)
    suite.prepare(random_images(25, 0), random_images(25, 1), tmp_path, labelled=True)
    assert suite.names == ["fd_pixels_20"]
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no Inception Score", "no accuracy", "no precision and recall",
    ]  # fmt: skip


class Costly(SmallExtractor):
    """Fails if it is prepared: its training would be in vain."""

    def prepare(self, train, heldout):
        pytest.fail("prepared")


OF_REAL_IMAGES = [
    FrechetDistance,
    FrechetInterval,
    FrechetInfinity,
    KernelDistance,
    PrecisionRecall,
    DensityCoverage,
]


@pytest.mark.parametrize(("n", "least"), [(0, 2), (1, 2), (3, 4)], ids=["none", "one", "three"])
def test_metrics_of_too_few_images_are_left_out_before_anything_is_trained(n, least, tmp_path, caplog):
    """improved-diffusion#63, minDiffusion#3: 12 images, or one, were refused for a metric's sake."""
    chosen = [cls() for cls in OF_REAL_IMAGES if n < 2 or cls not in OF_REAL_IMAGES[:3]]
    suite = Suite(Costly(), chosen, 20)
    suite.prepare(random_images(11, 0), random_images(n, 1), tmp_path)
    assert suite.names == []
    assert suite.left_out == [record.message for record in caplog.records]
    assert len(suite.left_out) == len(chosen)
    assert all(line.startswith("no ") and "\n" not in line for line in suite.left_out)
    if n < 2:
        assert suite.left_out[0] == (
            f"no fd: it needs 2 heldout images, there are {n}; or compare with the training images: reference=train"
        )


def test_advice_names_the_keys_of_the_configuration(tmp_path):
    def left_out(count, *images, **settings):
        suite = Suite(Costly(), [KernelDistance()], count)
        suite.choose(*(random_images(n, n) for n in images), tmp_path, **settings)
        return suite.left_out[0].partition("; ")[2]

    assert left_out(20, 9, 1, node="callbacks.evaluation") == (
        "or compare with the training images: callbacks.evaluation.reference=train"
    )
    assert left_out(20, 1, 9, split="train") == ""  # that is what it does
    assert left_out(2, 9, 9) == "pass num_images"
    assert left_out(2, 9, 9, node="callbacks.evaluation") == "pass callbacks.evaluation.num_images"
    with pytest.raises(UserError, match=r"^callbacks\.evaluation\.reference=test must be train or heldout"):
        left_out(20, 9, 9, split="test", node="callbacks.evaluation")


@pytest.mark.parametrize(("right", "classes", "warned"), [(0.17, 6, True), (0.3, 6, False), (None, 6, False)])
def test_a_classifier_that_guesses_is_told(right, classes, warned, tmp_path, caplog):
    class Trained(ClassifierFeatures):
        dim = 3

        def prepare(self, train, heldout):
            self.hash, self.heldout_accuracy, self.num_classes = "0" * 12, right, classes

        def features(self, images):
            return images.flatten(1)[:, :3].float()

    images = Images(random_images(30, 1).images, torch.arange(30) % classes)
    suite = Suite(Trained(str(tmp_path)), [FrechetDistance()], 20)
    suite.prepare(images, images, tmp_path)
    assert ("as guesses are" in caplog.text) == warned


@pytest.mark.parametrize(("train", "heldout"), [(11, 1), (12, 0), (1, 0), (1, 1), (2, 2), (30, 3)])
def test_a_small_set_is_measured_as_far_as_it_goes(train, heldout, tmp_path):
    suite = Suite(SmallExtractor(), every_metric(), 20)
    suite.prepare(random_images(train, 0), random_images(heldout, 1), tmp_path)
    values = evaluated(suite, random_images(20, 2).images)
    assert all(math.isfinite(value) for value in values.values())
    assert ("fd_small_20" in values) == (heldout >= 2)
    assert ("memorised_pixels_20" in values) == (train >= 2 and heldout >= 1)
    assert "isc_small_20" in values


def test_an_extractor_that_no_metric_needs_is_not_prepared(tmp_path):
    suite = Suite(Costly(), [ClassAccuracy(), Memorisation(extractor=PixelFeatures())], 20)
    suite.prepare(random_images(25, 0), random_images(25, 1), tmp_path, labelled=False)
    assert suite.names == ["memorised_pixels_20", "closer_than_heldout_pixels_20"]


def test_an_extractor_that_does_not_apply_leaves_the_other_metrics_alone(tmp_path):
    """Images without labels were refused whole, with what needs no classifier."""
    suite = Suite(ClassifierFeatures(str(tmp_path)), [FrechetDistance(), Memorisation(extractor=PixelFeatures())], 20)
    suite.prepare(random_images(25, 0), random_images(25, 1), tmp_path)
    assert suite.names == ["memorised_pixels_20", "closer_than_heldout_pixels_20"]
    (line,) = suite.left_out
    assert line.startswith("no fd: extractor=classifier needs labels of at least two classes")

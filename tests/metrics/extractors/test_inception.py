"""The real architecture with random weights, through the real loading path, beside both libraries' own code."""

import hashlib

import pytest
import torch
import torch_fidelity
from tests.metrics.test_parity import Stored
from torch_fidelity import feature_extractor_inceptionv3 as library
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.extractors.inception import InceptionFeatures
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.inception_score import InceptionScore
from inkwash.metrics.kernel import KernelDistance
from inkwash.metrics.moments import FeatureStatistics
from inkwash.metrics.precision_recall import PrecisionRecall
from inkwash.metrics.suite import Suite

N = 6


class RandomInception(library.FeatureExtractorInceptionV3):
    def load_state_dict(self, state_dict):
        """Keeps what the constructor drew, scaled so that features depend on the image in every layer."""
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(library, "load_state_dict_from_url", lambda *args, **kwargs: {})
        torch.save(RandomInception("random", ["2048"]).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights):
    extractor = InceptionFeatures(str(weights), sha256(weights))
    images = random_images(1, (3, 8, 8))
    state = torch.get_rng_state()
    extractor.prepare(images, images)
    assert torch.equal(state, torch.get_rng_state())
    return extractor


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def random_images(n, shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draws)
    return Images(images, torch.full((n,), -1))


@pytest.fixture(scope="module")
def real_and_fake():
    fake = random_images(N, (3, 32, 24), seed=1).images // 2
    return random_images(N, (3, 32, 24)).images, fake


@pytest.fixture(scope="module")
def real_and_fake_features(inception, real_and_fake):
    return tuple(inception(images) for images in real_and_fake)


def moments_of(features):
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics.compute()


def ours(real, fake):
    metric = FrechetDistance(moments_of(real))
    metric.update(fake)
    return metric.compute()


@pytest.mark.slow
def test_features_are_the_libraries_own(weights, real_and_fake, real_and_fake_features):
    images, features = real_and_fake[0], real_and_fake_features[0]
    assert features.shape == (N, 2048)
    assert features.std() > 1e-3
    fidelity = library.FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    torch.testing.assert_close(fidelity(images)[0], features, rtol=1e-5, atol=1e-6)
    metrics = NoTrainInceptionV3("inception", ["2048"], str(weights), antialias=False)
    torch.testing.assert_close(metrics(images), features, rtol=1e-5, atol=1e-6)


class Identity(torch.nn.Module):
    """Hands features that are ready to torchmetrics."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def forward(self, features):
        return features


def test_distance_is_the_libraries_own(real_and_fake_features):
    real, fake = (x.double() for x in real_and_fake_features)
    # Both libraries take eigenvalues of a 2048 x 2048 matrix without symmetry: the slow test below. A distance does not
    # change in an orthonormal basis of the features' span, where the matrix is 2N x 2N.
    Q = torch.linalg.qr(torch.cat([real, fake]).T)[0]
    small_real, small_fake = real @ Q, fake @ Q
    fidelity = fid_statistics_to_metric(
        fid_features_to_statistics(small_real), fid_features_to_statistics(small_fake), verbose=False
    )
    metrics = FrechetInceptionDistance(Identity(2 * N), normalize=True)
    metrics.update(small_real, real=True)
    metrics.update(small_fake, real=False)
    value = ours(*real_and_fake_features)
    assert value == pytest.approx(fidelity["frechet_inception_distance"], rel=1e-5)
    assert value == pytest.approx(metrics.compute().item(), rel=1e-5)


@pytest.mark.slow
def test_every_metric_is_the_libraries_own_end_to_end(
    weights, inception, real_and_fake, real_and_fake_features, tmp_path
):
    fidelity = torch_fidelity.calculate_metrics(
        input1=Stored(real_and_fake[1]), input2=Stored(real_and_fake[0]), cuda=False, verbose=False, batch_size=5,
        fid=True, kid=True, isc=True, prc=True, kid_subset_size=5, isc_splits=2, prc_neighborhood=2,
        save_cpu_ram=True, feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(weights),
    )  # fmt: skip
    real, fake = (Images(images, torch.full((N,), -1)) for images in real_and_fake)
    metrics = [FrechetDistance(), KernelDistance(subset_size=5), InceptionScore(splits=2), PrecisionRecall(k=2)]
    suite = Suite(inception, metrics, N)
    suite.prepare(real, real, tmp_path)
    for index in torch.arange(N).split(4):
        suite.update(index, fake.images[index])
    values = suite.compute()
    for key, theirs in (
        ("fd", "frechet_inception_distance"),
        ("kid", "kernel_inception_distance_mean"),
        ("isc", "inception_score_mean"),
        ("precision", "precision"),
        ("recall", "recall"),
    ):
        assert values[f"{key}_{inception.label}_{N}"] == pytest.approx(fidelity[theirs], rel=1e-5, abs=1e-6), key
    metrics = FrechetInceptionDistance(feature_extractor_weights_path=str(weights), antialias=False)
    metrics.update(real_and_fake[0], real=True)
    metrics.update(real_and_fake[1], real=False)
    assert ours(*real_and_fake_features) == pytest.approx(metrics.compute().item(), rel=1e-5)


def test_one_channel_is_repeated_and_four_are_refused(inception):
    grey = random_images(2, (1, 16, 12)).images
    torch.testing.assert_close(inception(grey), inception(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match="1 or 3 channels, not 4"):
        inception(random_images(2, (4, 16, 16)).images)


def test_hash_is_the_files(inception, weights):
    digest = sha256(weights)
    assert inception.hash == digest[:12]
    assert inception.label == f"inception_{digest[:4]}"
    assert not inception.earns_fid


def test_class_scores_are_the_libraries_logits(weights, inception, real_and_fake, real_and_fake_features):
    fidelity = library.FeatureExtractorInceptionV3("inception", ["logits_unbiased"], str(weights))
    scores = inception.class_scores(real_and_fake_features[0][:3])
    torch.testing.assert_close(scores, fidelity(real_and_fake[0][:3])[0], rtol=1e-4, atol=1e-4)
    assert inception.logits(real_and_fake_features[0]) is None  # these are not the data set's classes

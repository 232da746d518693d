"""The real architecture with random weights, through the real loading path, beside both libraries' own code."""

import hashlib
import os
from urllib.error import URLError

import pytest
import torch
import torch_fidelity
from torch_fidelity import feature_extractor_inceptionv3 as library
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics import features as features_module
from inkwash.metrics.features import InceptionFeatures
from inkwash.metrics.frechet import FeatureStatistics, FrechetDistance

N = 10


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
    extractor = InceptionFeatures(str(weights))
    images = random_images(1, (3, 8, 8))
    state = torch.get_rng_state()
    extractor.prepare(images, images)
    assert torch.equal(state, torch.get_rng_state())
    return extractor


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
def test_distance_is_the_libraries_own_end_to_end(weights, real_and_fake, real_and_fake_features):
    class Stored(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return self.images[i]

    fidelity = torch_fidelity.calculate_metrics(
        input1=Stored(real_and_fake[0]),
        input2=Stored(real_and_fake[1]),
        fid=True,
        cuda=False,
        verbose=False,
        batch_size=5,
        save_cpu_ram=True,
        feature_extractor_weights_path=str(weights),
    )
    assert ours(*real_and_fake_features) == pytest.approx(fidelity["frechet_inception_distance"], rel=1e-5)
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
    assert inception.hash == hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert inception.metric_name == "fd_inception"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def prepare(weights_path=None):
    images = random_images(1, (3, 8, 8))
    extractor = InceptionFeatures(weights_path)
    extractor.prepare(images, images)
    return extractor


def test_offline_says_what_to_do(hub, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(UserError) as error:
        prepare()
    for part in (str(hub / "weights-inception-2015-12-05-6726825d.pth"), "metrics.weights_path", "metrics=classifier"):
        assert part in str(error.value)


def serve(monkeypatch, weights, tmp_path, prefix):
    """A file that torch hub downloads in place of the published one, with a claim about its hash."""
    served = tmp_path / f"weights-inception-{prefix}.pth"
    os.link(weights, served)
    monkeypatch.setattr(features_module, "URL_INCEPTION_V3", served.as_uri())
    monkeypatch.setattr(InceptionFeatures, "official", prefix)
    return served


def test_a_download_is_checked_kept_and_called_fid(hub, weights, tmp_path, monkeypatch):
    prefix = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    served = serve(monkeypatch, weights, tmp_path, prefix)
    assert prepare().metric_name == "fid"
    served.unlink()  # gone from the server
    assert prepare().hash.startswith(prefix)


def test_a_damaged_download_is_refused_and_not_kept(hub, weights, tmp_path, monkeypatch):
    serve(monkeypatch, weights, tmp_path, "00000000")
    with pytest.raises(UserError, match="invalid hash"):
        prepare()
    assert [path.suffix for path in hub.iterdir() if path.suffix != ".lock"] == []


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_files_that_are_not_inceptions_weights_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(Payload(str(tmp_path / "marker")), tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    for name in ("other.pth", "code.pth", "text.pth", "missing.pth"):
        with pytest.raises(UserError, match=name):
            prepare(str(tmp_path / name))
    assert not (tmp_path / "marker").exists()

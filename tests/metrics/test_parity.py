"""The same numbers as torch-fidelity and torchmetrics, on the same features and on the same images."""

import pytest
import torch
import torch_fidelity
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.kid import poly_mmd

from inkwash.data.images import Images
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.inception_score import InceptionScore
from inkwash.metrics.kernel import KernelDistance, mmd2
from inkwash.metrics.moments import FeatureStatistics
from inkwash.metrics.precision_recall import PrecisionRecall
from inkwash.metrics.suite import Suite
from support.extractors import FidelityExtractor, SmallExtractor

N_REAL, N_FAKE, DIM = 230, 201, 24


def features(n, seed, shift=0.0):
    draws = torch.Generator().manual_seed(seed)
    return (torch.randn(n, DIM, generator=draws) * torch.linspace(0.2, 2, DIM) + shift).double()


@pytest.fixture(scope="module")
def real():
    return features(N_REAL, 0)


@pytest.fixture(scope="module")
def fake():
    return features(N_FAKE, 1, shift=0.2)


def test_frechet_distance(real, fake):
    statistics = FeatureStatistics(DIM)
    statistics.update(real)
    metric = FrechetDistance(statistics.compute())
    metric.update(fake)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(real), fid_features_to_statistics(fake), False)
    assert metric.compute() == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


@pytest.mark.parametrize(("subsets", "size", "seed"), [(100, 50, 2020), (7, N_FAKE, 3)], ids=str)
def test_kernel_distance_to_its_seed(real, fake, subsets, size, seed):
    metric = KernelDistance(real, subsets, size, seed)
    metric.update(range(N_FAKE), fake)
    ours = metric.compute()
    theirs = kid_features_to_metric(fake, real, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False)
    assert ours["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours["kid_std"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)
    assert metric.notes() == []


def test_kernel_distance_of_a_subset_is_torchmetrics_own(real, fake):
    x, y = fake[:150], real[:150]
    assert mmd2(x, y).item() == pytest.approx(poly_mmd(x, y).item(), rel=1e-9)
    assert mmd2(x, x).item() < 0  # unbiased: below 0 where the truth is 0


def test_kernel_distance_of_few_images_says_so(real, fake):
    metric = KernelDistance(real)
    metric.update(range(N_FAKE), fake)
    assert metric.compute()["kid_std"] > 0
    assert metric.protocol()["subset_size"] == N_FAKE // 2
    assert "subsets of 100 images" in metric.notes()[0]


@pytest.mark.parametrize(("splits", "seed"), [(10, 2020), (1, 5), (7, 0)], ids=str)
def test_inception_score_to_its_seed(splits, seed):
    logits = 3 * features(N_FAKE, 2)
    metric = InceptionScore(N_FAKE, DIM, splits, seed)
    order = torch.randperm(N_FAKE, generator=torch.Generator().manual_seed(0))
    for index in order.split(64):  # in any order
        metric.update(index, logits[index])
    ours = metric.compute()
    theirs = isc_features_to_metric(logits, splits, True, seed)
    assert ours["isc"] == pytest.approx(theirs["inception_score_mean"], rel=1e-10)
    assert ours["isc_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_precision_and_recall(real, fake, k):
    metric = PrecisionRecall(real, k)
    metric.update(range(N_FAKE), fake)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    # Shares of the same counts; theirs are divided in float32.
    assert metric.compute() == pytest.approx({name: theirs[name] for name in ("precision", "recall")}, abs=1e-7)
    assert 0 < theirs["precision"] < 1
    assert 0 < theirs["recall"] < 1


class Stored(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def pictures(n, seed, levels):
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, levels, (n, 3, 4, 4), dtype=torch.uint8, generator=draws)
    return coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)


def test_everything_from_images_at_once(tmp_path):
    real, fake = pictures(N_REAL, 0, 256), pictures(N_FAKE, 1, 150)
    torch_fidelity.register_feature_extractor("small-eyes", FidelityExtractor)
    theirs = torch_fidelity.calculate_metrics(
        input1=Stored(fake), input2=Stored(real), cuda=False, fid=True, kid=True, isc=True, prc=True, verbose=False,
        feature_extractor="small-eyes", kid_subset_size=60, kid_subsets=20, batch_size=50, save_cpu_ram=True,
    )  # fmt: skip
    metrics = [FrechetDistance(), KernelDistance(subsets=20, subset_size=60), InceptionScore(), PrecisionRecall()]
    suite = Suite(SmallExtractor(), metrics, N_FAKE)
    heldout = Images(real, torch.full((N_REAL,), -1))
    suite.prepare(heldout, heldout, tmp_path)
    for index in torch.arange(N_FAKE).split(50):
        suite.update(index, fake[index])
    ours = suite.compute()
    # Their kernels and means are float32, and so are the features of both.
    for name, key, tolerance in (
        ("fd", "frechet_inception_distance", 1e-5),
        ("kid", "kernel_inception_distance_mean", 1e-4),
        ("isc", "inception_score_mean", 1e-9),
        ("isc_std", "inception_score_std", 1e-8),
        ("precision", "precision", 1e-6),
        ("recall", "recall", 1e-6),
    ):
        assert ours[f"{name}_small_{N_FAKE}"] == pytest.approx(theirs[key], rel=tolerance), name

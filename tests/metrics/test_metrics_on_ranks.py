"""Real processes: unequal shares of the images, one that has none, and one classifier between them."""

import os

import pytest
import torch
import torch.distributed as dist
from tests.metrics.test_suite import evaluated, every_metric, random_images

from inkwash.metrics.extractors import classifier as classifier_module
from inkwash.metrics.extractors.classifier import ClassifierFeatures
from inkwash.metrics.kernel import KernelDistance
from inkwash.metrics.moments import FeatureStatistics
from inkwash.metrics.reference import reference_statistics
from inkwash.metrics.suite import Suite
from support.extractors import SmallExtractor

N = 61
SHARES = {  # of the images 0 .. N - 1, in batches, for each rank
    2: [[range(0, 40, 2), range(40, N)], [range(1, 40, 2)]],
    3: [[range(0, N, 3)], [], [range(1, N, 3), range(2, 30, 3), range(32, N, 3)]],
}


def features():
    return 3 + torch.randn(N, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def suite_on(cache):
    suite = Suite(SmallExtractor(), every_metric(), N)
    suite.prepare(random_images(80, 0), random_images(70, 1), cache)
    return suite


def measure(rank, world, folder, suite):
    """What a rank of a world computes from its share."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
    images, statistics = random_images(N, 2).images, FeatureStatistics(6)
    kernel = KernelDistance(features()[:30].float(), subsets=3, subset_size=20)
    suite.reset()
    for index in SHARES[world][rank]:
        index = torch.tensor(index)
        statistics.update(features()[index])
        kernel.update(index, features()[index].float())
        suite.update(index, images[index])
    padded = torch.tensor([0])  # a sampler that pads gives an image to two ranks
    kernel.update(padded, features()[padded].float())
    results = {"moments": tuple(statistics.compute()), "values": suite.compute(), "kernel": kernel.compute()}
    torch.save(results, f"{folder}/{world}-{rank}.pt")
    dist.destroy_process_group()


def run_rank(rank, folder, train, heldout):
    torch.set_num_threads(1)
    trained = []
    original = classifier_module._train
    classifier_module.STEPS = 20
    classifier_module._train = lambda *args: trained.append(os.getpid()) or original(*args)
    suite = suite_on(f"{folder}/cache")
    measure(rank, 3, folder, suite)
    if rank < 2:
        measure(rank, 2, folder, suite)
    extractor = ClassifierFeatures(f"{folder}/cache")
    extractor.prepare(train, heldout)
    reference = reference_statistics(extractor, heldout, f"{folder}/cache")
    torch.save({"trained": len(trained), "hash": extractor.hash, "n": reference.n}, f"{folder}/classifier-{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, train, heldout):
    folder = tmp_path_factory.mktemp("ranks")
    # Three processes that import torch once between them.
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["inkwash.metrics.suite", "pytest"])
    torch.multiprocessing.start_processes(run_rank, (str(folder), train, heldout), nprocs=3, start_method="forkserver")
    return folder


@pytest.mark.parametrize("world", SHARES)
def test_values_are_those_of_one_process(folder, world):
    suite = suite_on(folder / "cache")
    values = evaluated(suite, random_images(N, 2).images)
    for rank in range(world):
        theirs = torch.load(folder / f"{world}-{rank}.pt")["values"]
        assert list(theirs) == list(values)
        assert theirs == torch.load(folder / f"{world}-0.pt")["values"]  # to the last digit
        for name, value in values.items():
            assert theirs[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("world", SHARES)
def test_moments_are_those_of_one_process(folder, world):
    statistics = FeatureStatistics(6)
    statistics.update(features())
    n, mean, covariance = statistics.compute()
    for rank in range(world):
        theirs = torch.load(folder / f"{world}-{rank}.pt")["moments"]
        assert theirs[0] == n == N
        torch.testing.assert_close(theirs[1], mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(theirs[2], covariance, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("world", SHARES)
def test_an_image_that_two_ranks_saw_counts_once(folder, world):
    metric = KernelDistance(features()[:30].float(), subsets=3, subset_size=20)
    metric.update(range(N), features().float())
    for rank in range(world):
        assert torch.load(folder / f"{world}-{rank}.pt")["kernel"] == metric.compute()


def test_ranks_train_one_classifier(folder):
    results = [torch.load(folder / f"classifier-{rank}.pt") for rank in range(3)]
    assert sorted(rank["trained"] for rank in results) == [0, 0, 1]
    assert len({rank["hash"] for rank in results}) == 1
    files = list((folder / "cache").iterdir())
    assert sum(path.name.startswith("classifier") and path.suffix == ".pt" for path in files) == 1
    assert not [path for path in files if path.suffix == ".partial"]


def test_the_reference_counts_each_real_image_once(folder, heldout):
    assert [torch.load(folder / f"classifier-{rank}.pt")["n"] for rank in range(3)] == [len(heldout)] * 3

"""Two real processes: unequal sums, and one classifier between them."""

import os

import pytest
import torch
import torch.distributed as dist

from inkwash.metrics import classifier as classifier_module
from inkwash.metrics.classifier import ClassifierFeatures
from inkwash.metrics.frechet import FeatureStatistics, FrechetDistance, Moments
from inkwash.metrics.reference import reference_statistics

SIZES = [[8, 8, 8, 8, 5, 1, 2], [40, 3, 9]]  # batches of each rank: 7 updates and 3


def features():
    return 3 + torch.randn(sum(map(sum, SIZES)), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def reference_moments():
    return Moments(10, torch.zeros(6, dtype=torch.float64), 2 * torch.eye(6, dtype=torch.float64))


def run_rank(rank, folder, train, heldout):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mine = features().split([sum(sizes) for sizes in SIZES])[rank]
    statistics, distance = FeatureStatistics(6), FrechetDistance(reference_moments())
    for batch in mine.split(SIZES[rank]):
        statistics.update(batch)
        distance.update(batch)
    trained = []
    original = classifier_module._train
    classifier_module.STEPS = 20
    classifier_module._train = lambda *args: trained.append(os.getpid()) or original(*args)
    extractor = ClassifierFeatures(f"{folder}/cache")
    dist.barrier()
    extractor.prepare(train, heldout)
    reference = reference_statistics(extractor, heldout, f"{folder}/cache")
    results = {
        "moments": tuple(statistics.compute()),
        "distance": distance.compute(),
        "trained": len(trained),
        "hash": extractor.hash,
        "n_real": reference.n,
    }
    torch.save(results, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, train, heldout):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(run_rank, (str(folder), train, heldout), nprocs=2)
    results = [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]
    return results, list((folder / "cache").iterdir())


def test_unequal_updates_on_two_ranks_equal_one_process(ranks):
    statistics, distance = FeatureStatistics(6), FrechetDistance(reference_moments())
    statistics.update(features())
    distance.update(features())
    n, mean, covariance = statistics.compute()
    for rank in ranks[0]:
        assert rank["moments"][0] == n == len(features())
        torch.testing.assert_close(rank["moments"][1], mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(rank["moments"][2], covariance, rtol=1e-11, atol=1e-13)
        assert rank["distance"] == pytest.approx(distance.compute(), rel=1e-12)


def test_two_ranks_train_one_classifier(ranks):
    results, files = ranks
    assert sorted(rank["trained"] for rank in results) == [0, 1]
    assert results[0]["hash"] == results[1]["hash"]
    assert sum(path.name.startswith("classifier") and path.suffix == ".pt" for path in files) == 1
    assert not [path for path in files if path.suffix == ".tmp"]


def test_the_reference_counts_each_real_image_once(ranks, heldout):
    assert [rank["n_real"] for rank in ranks[0]] == [len(heldout)] * 2

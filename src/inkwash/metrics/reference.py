"""Statistics of the real images: computed once for a data set and an extractor, kept on disk between runs."""

import hashlib
from pathlib import Path

import torch

from inkwash.metrics.cache import cached
from inkwash.metrics.features import FeatureExtractor, ImageSplit
from inkwash.metrics.frechet import FeatureStatistics, Moments, frechet_distance
from inkwash.random import generator

FORMAT = 1  # of the file; raise it when its content changes


def reference_statistics(
    extractor: FeatureExtractor, images: ImageSplit, cache_dir: str | Path, num_images: int | None = None
) -> Moments:
    """Moments of a split's features, each image exactly once, cached as `<cache_dir>/reference-<key>.pt`.

    Every rank gets the moments of all the images, whatever the world size: nothing here is split or reduced.

    Args:
        extractor: prepared; it runs on its own device.
        images: the split, the held-out one for a reference.
        num_images: a fixed random choice of that many images; all by default.
    """
    n = len(images) if num_images is None else min(num_images, len(images))
    identity = (FORMAT, extractor.name, extractor.hash, images.fingerprint, n)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    return Moments(**cached(Path(cache_dir) / f"reference-{key}.pt", lambda: _moments(extractor, images, n)._asdict()))


def frechet_floor(
    extractor: FeatureExtractor,
    train: ImageSplit,
    reference: Moments,
    cache_dir: str | Path,
    num_images: int | None = None,
) -> float:
    """Frechet distance of training images to the reference: what a perfect model would score.

    A distance shrinks as samples grow in number, so compare it with as many generated images, `num_images`.
    """
    real = reference_statistics(extractor, train, cache_dir, num_images)
    return frechet_distance(real.mean, real.covariance, reference.mean, reference.covariance)


def _moments(extractor: FeatureExtractor, images: ImageSplit, n: int, batch_size: int = 256) -> Moments:
    """The moments of n images, on the CPU, where the file's readers want them."""
    device = next((p.device for p in extractor.parameters()), torch.device("cpu"))
    chosen = torch.randperm(len(images), generator=generator("reference"))[:n].sort().values
    statistics = FeatureStatistics(extractor.dim)
    for indices in chosen.split(batch_size):
        batch, _ = images.__getitems__(indices.tolist())
        statistics.update(extractor(batch.to(device)))
    return statistics.moments()  # not compute(): that would add up the ranks

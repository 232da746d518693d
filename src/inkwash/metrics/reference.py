"""Features and moments of the real images, computed once for a data set and an extractor and cached on disk."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.images import ImageSplit, InBlocks
from inkwash.metrics.cache import cached
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.frechet import frechet_distance
from inkwash.metrics.moments import FeatureStatistics, Moments
from inkwash.metrics.npz import Provenance, read_npz, write_npz
from inkwash.random import generator

FORMAT = 1  # of the files; raise it when their content changes
SPLITS = ("train", "heldout")


def check_split(split: str, node: str = "") -> None:
    """Raise UserError unless there is such a split; `node` is what stands before the key's name, with its dot."""
    if split not in SPLITS:
        raise UserError(f"{node}reference={split} must be {' or '.join(SPLITS)}")


class Reference:
    """The real images that an evaluation compares with, for one feature extractor (base.RealImages).

    Args:
        extractor: a prepared one; it runs on its own device.
        train, heldout: the splits of the data set.
        cache_dir: folder for features and moments.
        split: "train" or "heldout", the reference of distances.
        file: .npz with the statistics of that split, instead of computing them.
        flip: the training mirrors its images.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        train: ImageSplit,
        heldout: ImageSplit,
        cache_dir: str | Path,
        split: str = "heldout",
        file: str | Path | None = None,
        flip: bool = False,
    ):
        self.flip = flip
        self.extractor, self.cache_dir, self.split, self.file = extractor, cache_dir, split, file
        self.splits = {"train": train, "heldout": heldout}
        check_split(split)
        self._features: dict[tuple[str, bool], Tensor] = {}  # one copy for all metrics

    def provenance(self, split: str | None = None) -> Provenance:
        split, extractor = split or self.split, self.extractor
        images = self.splits[split]
        return Provenance(
            len(images), extractor.name, extractor.hash, images.fingerprint, split, extractor.preprocessing
        )

    def moments(self) -> tuple[Moments, Provenance]:
        """Return the moments of the reference's features and their provenance, from its file if there is one.

        Raises:
            UserError: the file is damaged, or of other images or another extractor.
        """
        if self.file is None:
            return reference_statistics(self.extractor, self.splits[self.split], self.cache_dir), self.provenance()
        moments, origin = read_npz(self.file, self.provenance())
        if len(moments.mean) != self.extractor.dim:
            raise UserError(f"{self.file} has {len(moments.mean)} features, {self.extractor.name} {self.extractor.dim}")
        return moments, origin

    def features(self, split: str | None = None, mirrored: bool = False) -> Tensor:
        key = (split or self.split, mirrored)
        if key not in self._features:
            self._features[key] = reference_features(self.extractor, self.splits[key[0]], self.cache_dir, mirrored)
        return self._features[key]

    def for_extractor(self, extractor: FeatureExtractor) -> "Reference":
        train, heldout = self.splits["train"], self.splits["heldout"]
        extractor.prepare(train, heldout)
        return Reference(extractor, train, heldout, self.cache_dir, self.split, flip=self.flip)

    def write(self, path: str | Path) -> None:
        """Write the reference's moments in the format of `file`, which pytorch-fid and EDM read, too."""
        write_npz(path, *self.moments())


def reference_statistics(
    extractor: FeatureExtractor, images: ImageSplit, cache_dir: str | Path, num_images: int | None = None
) -> Moments:
    """Return the moments of a split's features, each image exactly once, cached as `<cache_dir>/reference-<key>.pt`.

    Every rank gets the moments of all images, whatever the world size: nothing here is divided or reduced.

    Args:
        extractor: a prepared one; it runs on its own device.
        images: the split.
        num_images: size of a fixed random subset; None for all images.
    """
    n = len(images) if num_images is None else min(num_images, len(images))
    path = _cache_path("reference", extractor, images, cache_dir, n)
    return Moments(**cached(path, lambda: _moments(extractor, images, n)._asdict()))


def reference_features(
    extractor: FeatureExtractor, images: ImageSplit, cache_dir: str | Path, mirrored: bool = False
) -> Tensor:
    """Return the features of a split, float32 (n, d), on the CPU, cached as `<cache_dir>/features-<key>.pt`.

    Args:
        mirrored: of the images' mirror images, left for right.
    """

    def compute() -> dict[str, Tensor]:
        batches = _features(extractor, images, torch.arange(len(images)), mirrored)
        return {"features": torch.cat([torch.empty(0, extractor.dim), *(x.cpu() for x in batches)])}

    if next(extractor.parameters(), None) is None:  # pixels: faster to compute than to read
        return compute()["features"]
    kind = "mirrored" if mirrored else "features"
    return cached(_cache_path(kind, extractor, images, cache_dir, len(images)), compute)["features"]


def frechet_floor(
    extractor: FeatureExtractor,
    train: ImageSplit,
    reference: Moments,
    cache_dir: str | Path,
    num_images: int | None = None,
) -> float:
    """Return the floor: the Frechet distance of training images to the reference, which a perfect model would have.

    A distance falls as the number of images grows, so compare it with one of as many generated images, `num_images`.
    """
    real = reference_statistics(extractor, train, cache_dir, num_images)
    return frechet_distance(real.mean, real.covariance, reference.mean, reference.covariance)


def _cache_path(kind: str, extractor: FeatureExtractor, images: ImageSplit, cache_dir: str | Path, n: int) -> Path:
    identity = (FORMAT, extractor.name, extractor.hash, extractor.preprocessing, images.fingerprint, n)
    return Path(cache_dir) / f"{kind}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}.pt"


def _features(
    extractor: FeatureExtractor, images: ImageSplit, indices: Tensor, mirrored: bool = False, batch_size: int = 256
) -> Iterator[Tensor]:
    device = next((p.device for p in extractor.parameters()), torch.device("cpu"))
    for batch in indices.split(batch_size):
        real = images.__getitems__(batch.tolist())[0].to(device)
        yield extractor(real.flip(-1) if mirrored else real)


def _moments(extractor: FeatureExtractor, images: ImageSplit, n: int) -> Moments:
    """Return the moments of n images, on the CPU."""
    if n < len(images) and isinstance(images, InBlocks):  # a subset of few blocks, so that not all are read
        chosen = torch.tensor(sorted(islice(images.order("reference", 0), n)))
    else:
        chosen = torch.randperm(len(images), generator=generator("reference"))[:n].sort().values
    statistics = FeatureStatistics(extractor.dim)
    for features in _features(extractor, images, chosen):
        statistics.update(features)
    return statistics.moments()  # not compute(): that would add up the ranks

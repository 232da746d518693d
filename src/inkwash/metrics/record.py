"""Name and record of a value: both tell its protocol, so that values which do not compare do not look alike."""

from dataclasses import dataclass, field
from typing import Any

from inkwash.metrics.extractors.base import FeatureExtractor


@dataclass(frozen=True)
class MetricRecord:
    """A measured value with its whole protocol; `dataclasses.asdict` makes it a plain dictionary."""

    name: str  # as logged: fd_classifier_2k
    value: float
    n_real: int | None  # None without a reference, or if its file does not say
    n_fake: int
    extractor: str
    extractor_hash: str
    reference: str | None  # the split the real images came from
    weights: str  # ema or raw
    sampler: str
    steps: int
    guidance: float
    seed: int | None = None  # of the generated images
    commit: str | None = None  # of Inkwash, as git knows it
    preprocessing: str = ""  # of the extractor
    data: str | None = None  # fingerprint of the reference
    protocol: dict[str, Any] = field(default_factory=dict)  # the metric's own settings
    notes: list[str] = field(default_factory=list)  # why the value may mislead
    lower_is_better: bool | None = None  # None: the value has no best
    labels: str | None = None  # of generated images: reference (its proportions), balanced; None if not drawn by class


def metric_name(key: str, extractor: FeatureExtractor, n: int) -> str:
    """Return the name of a value of n generated images: `kid_inception_10k`, `precision_classifier_1350`, `fid_10k`.

    A Frechet distance (key fd or fd_...) is called `fid` only with torch-fidelity's Inception and its published
    weights. Whole thousands are written with `k`.
    """
    count = f"{n // 1000}k" if n and n % 1000 == 0 else str(n)
    if key.split("_")[0] == "fd" and extractor.earns_fid:
        return f"fid{key.removeprefix('fd')}_{count}"
    return f"{key}_{extractor.label}_{count}"


def frechet_name(extractor: FeatureExtractor, n: int) -> str:
    """Return the name of a Frechet distance of n generated images: `fid_10k`, `fd_classifier_1350`."""
    return metric_name("fd", extractor, n)

"""A metric's name and the record of how it came about: numbers of different protocols must not look alike."""

from dataclasses import dataclass

from inkwash.metrics.features import FeatureExtractor


@dataclass(frozen=True)
class MetricRecord:
    """One measured value with its whole protocol; `dataclasses.asdict` makes it a plain dictionary."""

    name: str  # as logged: fd_classifier_2k
    value: float
    n_real: int
    n_fake: int
    extractor: str
    extractor_hash: str
    reference: str  # the split the real images came from
    weights: str  # ema or raw
    sampler: str
    steps: int
    guidance: float


def frechet_name(extractor: FeatureExtractor, n: int) -> str:
    """The name of a Frechet distance of n generated images: `fid_10k`, `fd_classifier_1350`.

    Only torch-fidelity's Inception with its published weights earns `fid`; thousands are written `k`.
    """
    count = f"{n // 1000}k" if n and n % 1000 == 0 else str(n)
    return f"{extractor.metric_name}_{count}"

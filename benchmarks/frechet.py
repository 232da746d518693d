"""python benchmarks/frechet.py [--dim 2048]: time the Frechet distance against scipy, its sums against torch.mm.

Each pair is measured side by side in this process, in turns; ratios are of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from inkwash.metrics.frechet import frechet_distance
from inkwash.metrics.moments import FeatureStatistics, Moments


def seconds(*functions: Callable[[], object], repeat: int) -> list[float]:
    """Return the median wall seconds of each function, called in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeat):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def moments(n: int, dim: int, seed: int) -> Moments:
    """Return moments of n vectors whose spectrum falls over four decades, like that of Inception's features."""
    draws = torch.Generator().manual_seed(seed)
    sums = FeatureStatistics(dim)
    for size in [1000] * (n // 1000) + [n % 1000] * (n % 1000 > 0):
        x = torch.randn(size, dim, generator=draws, dtype=torch.float64)
        sums.update(0.4 + x * torch.logspace(0, -2, dim, dtype=torch.float64))
    return sums.compute()


def sqrtm_distance(a: Moments, b: Moments) -> float:
    """Compute the distance with scipy.linalg.sqrtm, as the paper and most code do."""
    C_1, C_2 = a.covariance.numpy(), b.covariance.numpy()
    root = np.real(scipy.linalg.sqrtm(C_1 @ C_2))
    return float(np.sum((a.mean - b.mean).numpy() ** 2) + np.trace(C_1 + C_2 - 2 * root))


def compare_distance(name: str, a: Moments, b: Moments, repeat: int) -> None:
    values: list[float] = [0.0, 0.0]

    def ours() -> None:
        values[0] = frechet_distance(*a[1:], *b[1:])

    def theirs() -> None:
        values[1] = sqrtm_distance(a, b)

    fast, slow = seconds(ours, theirs, repeat=repeat)
    error = abs(values[0] - values[1]) / values[1]
    print(f"distance, {name:<28} {fast:6.2f} s   sqrtm {slow:6.2f} s   {slow / fast:5.1f} x   differ by {error:.0e}")


def compare_update(batch: int, dim: int, repeat: int) -> None:
    x = torch.randn(batch, dim)
    x_64, sums = x.double(), FeatureStatistics(dim)
    out_64, out_32 = torch.empty(dim, dim, dtype=torch.float64), torch.empty(dim, dim)
    ours, gemm_64, gemm_32 = seconds(
        lambda: sums.update(x),
        lambda: torch.mm(x_64.T, x_64, out=out_64),
        lambda: torch.mm(x.T, x, out=out_32),
        repeat=10 * repeat,
    )
    print(
        f"update, {batch:4} images: {batch / ours:8.0f} images/s   {gemm_64 / ours:4.2f} of a float64 product   "
        f"{gemm_32 / ours:4.2f} of a float32 product"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    dim, repeat = options.dim, options.repeat
    print(f"{dim} dimensions, {torch.get_num_threads()} threads, torch {torch.__version__}, scipy {scipy.__version__}")
    full, other, half, few = (moments(n, dim, seed) for seed, n in enumerate((2 * dim, 2 * dim, dim // 2, dim // 4)))
    compare_distance("both of full rank", full, other, repeat)
    compare_distance("one singular", full, half, repeat)
    compare_distance("both singular", half, few, repeat)
    for batch in (64, 256, 1024):
        compare_update(batch, dim, repeat)


if __name__ == "__main__":
    main()

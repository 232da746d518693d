"""Draw the held-out images of a set whose names tell no split (see splits.py): by class, the same ones every time."""

import numpy as np
import torch
from torch import Tensor

from inkwash.random import generator


def rows_of(split: str, labels: Tensor | np.ndarray, heldout_fraction: float, stratified: bool = True) -> Tensor:
    """Select the images of a split: bool (N,), a function of the labels and the fraction alone.

    round(N * heldout_fraction) images are held out, at least one and at most N - 1 of them; none if N = 1 or the
    fraction is 0. Stratified, each class (the unlabelled images are one) gives its part of them, rounded by largest
    remainders; of a set with one class the same images are drawn either way.

    Args:
        labels: int64 (N,), -1 where an image has none.
    """
    labels = torch.as_tensor(labels)
    count = len(labels)
    chosen = torch.zeros(count, dtype=torch.bool)
    heldout = min(max(1, round(count * heldout_fraction)), count - 1) if heldout_fraction else 0
    order = torch.randperm(count, generator=generator("heldout"))
    if heldout and stratified:
        _, codes, sizes = labels.unique(return_inverse=True, return_counts=True)
        codes = codes[order]
        drawn = torch.full_like(sizes, count).scatter_reduce_(0, codes, torch.arange(count), "amin")  # first positions
        quotas = heldout_of_each(sizes, heldout, drawn)
        by_class, inside = codes.sort(stable=True)
        starts = sizes.cumsum(0) - sizes
        rank = torch.arange(count) - starts[by_class]  # of an image within its class, in the order drawn
        chosen[order[inside[rank < quotas[by_class]]]] = True
    else:
        chosen[order[:heldout]] = True
    return chosen if split == "heldout" else ~chosen


def heldout_of_each(sizes: Tensor, total: int, turn: Tensor) -> Tensor:
    """Divide `total` held-out images among classes of the given sizes, int64 (K,), by largest remainders.

    A class gives its only image away when no class has another to give. Of equal remainders that of the class with the
    smaller `turn` counts first.
    """
    exact = sizes.double() * total / sizes.sum()
    quotas = exact.floor().long()
    preference = exact - quotas + (quotas + 1 < sizes)
    first = turn.argsort()
    first = first[preference[first].argsort(descending=True, stable=True)]
    quotas[first[: total - int(quotas.sum())]] += 1
    return quotas

"""Generate many images: batches, labels and quantisation, the same for grids, metrics and `make sample`."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.guidance_scale import guided
from inkwash.images import to_uint8
from inkwash.samplers.base import ImageNoise, Sampler, Watch


def labels_for(indices: Sequence[int], num_classes: int | None) -> Tensor | None:
    """Return labels i mod num_classes of images i, (n,), or None: a grid num_classes wide has a class a column."""
    return None if num_classes is None else torch.tensor([i % num_classes for i in indices])


Decode = Callable[[Tensor], Tensor]  # from latents to images

LABEL_CHOICES = ("reference", "balanced")


class ClassLabels(NamedTuple):
    """The classes that the images of an evaluation are drawn for, and where their proportions come from.

    Attributes:
        values: int64 (num_images,); None for a network without classes.
        choice: "reference" or "balanced", for the record of a metric; None without classes.
    """

    values: Tensor | None
    choice: str | None

    def of(self, indices: Sequence[int]) -> Tensor | None:
        """Return the labels (n,) of images i; None without classes."""
        return None if self.values is None else self.values[torch.as_tensor(indices, dtype=torch.int64)]


def labels_to_measure(choice: str, real: Tensor, num_images: int, num_classes: int | None, key: str) -> ClassLabels:
    """Return the labels of all images of an evaluation, which depend on nothing but these arguments.

    Args:
        choice: "reference" for the proportions of real images' labels, which a distance to them takes for granted;
            "balanced" for labels i mod num_classes.
        real: int64 (N,), the labels of the reference; those outside 0 .. num_classes - 1 (no label) do not count.
        num_images: number of images over all ranks.
        num_classes: of the network; None without classes.
        key: of the configuration, for the error.

    Raises:
        UserError: there is no such choice.
    """
    if choice not in LABEL_CHOICES:
        raise UserError(f"{key}={choice} must be {' or '.join(LABEL_CHOICES)}")
    if num_classes is None:
        return ClassLabels(None, None)
    counts = torch.bincount(real[(real >= 0) & (real < num_classes)], minlength=num_classes)
    if choice == "reference" and counts.sum() > 0:
        return ClassLabels(_in_proportion(counts, num_images), choice)
    return ClassLabels(labels_for(range(num_images), num_classes), "balanced")


def _in_proportion(counts: Tensor, n: int) -> Tensor:
    """Return n labels with the proportions of `counts` (K,), well mixed; i mod K if all counts are equal.

    Class k gets n * counts[k] / N images, rounded by the largest remainders (ties: the lower class). They are in the
    order of (2 j + 1) / counts[k], j = 0, 1, ..., so that every beginning of the series has about the proportions.
    """
    total = int(counts.sum())
    quotas, remainders = n * counts // total, n * counts % total
    quotas[remainders.argsort(descending=True, stable=True)[: n - int(quotas.sum())]] += 1
    places = [(2 * torch.arange(int(q)) + 1) / c.double() for q, c in zip(quotas, counts, strict=True)]
    return torch.arange(len(counts)).repeat_interleave(quotas)[torch.cat(places).argsort(stable=True)]


def generate(
    denoiser: nn.Module,
    sampler: Sampler,
    shape: tuple[int, int, int],
    indices: Sequence[int],
    labels: Tensor | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_step: Callable[[], object] = lambda: None,
    watch: Watch | None = None,
    decode: Decode | None = None,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, images uint8 (n, C, H, W)) a batch at a time.

    Args:
        denoiser: on `device`.
        shape: (C, H, W) of what the denoiser draws.
        indices: of the images in the endless series that `seed` names; a rank takes its part of them.
        labels: (len(indices),) int64, or None.
        guidance: classifier-free guidance scale, 1 for none.
        on_step: called after every step of every batch, for progress bars.
        watch: sees the way of the first batch, as in Sampler.
        decode: makes images of what the denoiser draws, if that is latents.

    Raises:
        UserError: an image has NaN or infinite pixels.
    """
    denoiser = guided(denoiser, guidance)
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        y = None if labels is None else labels[start : start + batch_size].to(device)
        noise = ImageNoise(seed, batch, shape, device)
        drawn = sampler(denoiser, noise, y, on_step, watch if start == 0 else None)
        yield batch, quantized(drawn if decode is None else decode(drawn))


def quantized(images: Tensor) -> Tensor:
    """Quantise sampled images (n, ...) to uint8; raise UserError for NaN and infinite pixels."""
    # Quantising would turn NaN into black pixels that look like data.
    if bad := len(images) - int(images.isfinite().flatten(1).all(dim=1).sum()):
        raise UserError(f"{bad} of {len(images)} images are not numbers: the weights diverged, or sampler.clip is null")
    return to_uint8(images)

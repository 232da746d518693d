"""Generate many images: batches, labels and quantisation, the same for grids, metrics and `make sample`."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.guidance import guided
from inkwash.images import to_uint8
from inkwash.samplers.base import ImageNoise, Sampler


def labels_for(indices: Sequence[int], num_classes: int | None) -> Tensor | None:
    """Return labels i mod num_classes of images i, (n,), or None: a grid num_classes wide has a class a column."""
    return None if num_classes is None else torch.tensor([i % num_classes for i in indices])


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
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, images uint8 (n, C, H, W)) a batch at a time.

    Args:
        denoiser: on `device`.
        shape: (C, H, W).
        indices: of the images in the endless series that `seed` names; a rank takes its part of them.
        labels: (len(indices),) int64, or None.
        guidance: classifier-free guidance scale, 1 for none.
        on_step: called after every step of every batch, for progress bars.

    Raises:
        UserError: an image has NaN or infinite pixels.
    """
    denoiser = guided(denoiser, guidance)
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        y = None if labels is None else labels[start : start + batch_size].to(device)
        yield batch, quantized(sampler(denoiser, ImageNoise(seed, batch, shape, device), y, on_step))


def quantized(images: Tensor) -> Tensor:
    """Quantise sampled images (n, ...) to uint8; raise UserError for NaN and infinite pixels."""
    # Quantising would turn NaN into black pixels that look like data.
    if bad := len(images) - int(images.isfinite().flatten(1).all(dim=1).sum()):
        raise UserError(f"{bad} of {len(images)} images are not numbers: the weights diverged, or sampler.clip is null")
    return to_uint8(images)

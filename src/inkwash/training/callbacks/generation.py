"""Generate images during training, a part of them on each rank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from inkwash.autoencoders.base import Autoencoder
from inkwash.autoencoders.refusals import check_clip
from inkwash.guidance_scale import at_a_time, scale_of
from inkwash.images import to_float
from inkwash.metrics.suite import Suite
from inkwash.samplers.base import Sampler
from inkwash.samplers.generate import ClassLabels, Decode, generate, labels_for, quantized
from inkwash.training.module import DiffusionModule
from inkwash.training.precision import autocast


def image_shape(trainer: L.Trainer) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of the training images."""
    return tuple(trainer.datamodule.shape)  # pyright: ignore[reportAttributeAccessIssue]


def network_shape(trainer: L.Trainer) -> tuple[int, int, int]:
    """Return the shape of what the network sees: of the training images, or of their latents."""
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(getattr(data, "network_shape", data.shape))  # a data module of the user's own has no latents


def autoencoder_of(trainer: L.Trainer) -> Autoencoder | None:
    """Return the autoencoder whose latents are trained on; None for pixels, as in a data module of the user's own."""
    return getattr(trainer.datamodule, "autoencoder", None)  # pyright: ignore[reportAttributeAccessIssue]


def decoder(trainer: L.Trainer) -> Decode | None:
    """Return the function from latents to images; None for a network that draws images."""
    autoencoder = autoencoder_of(trainer)
    return None if autoencoder is None else autoencoder.decode


def check_sampler(sampler: Sampler, module: DiffusionModule) -> None:
    """Raise UserError if a sampler cannot draw on the module's path by its loss, or bounds latents like pixels."""
    sampler.check(module.denoiser.schedule)
    sampler.check_estimates(lambda: module.loss.posterior_mean)
    check_clip(sampler.clip, module.config)


def scale_for(module: DiffusionModule, guidance: float | None) -> float:
    """Return the guidance scale; see guidance_scale.scale_of."""
    return scale_of(guidance, module.num_classes, module.loss.label_dropout)


def micro_batch(trainer: L.Trainer) -> int:
    """Return how many images a rank trains on at a time."""
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    return max(1, data.batch_size // (trainer.world_size * trainer.accumulate_grad_batches))


def images_at_a_time(trainer: L.Trainer, asked: int | None, guidance: float = 1.0) -> int:
    """Return the number asked for, or else as many as give the network a micro-batch of the training at most.

    So nothing that runs during a training needs more memory than the training itself.
    """
    return asked or at_a_time(micro_batch(trainer), guidance)


@contextmanager
def evaluating(denoiser: nn.Module) -> Iterator[None]:
    """Put the raw weights in evaluation mode for a while: without dropout, and with buffers that stay as they are."""
    training = denoiser.training
    if training:
        denoiser.eval()
    try:
        yield
    finally:
        if training:
            denoiser.train()


def reconstructed(
    reconstruct: Callable[[Tensor], Tensor], split: Any, indices: Sequence[int], size: int, device: torch.device
) -> Iterator[tuple[Sequence[int], Tensor, Tensor]]:
    """Yield (indices, uint8 images (n, C, H, W), labels (n,)) of what an autoencoder makes of a split's images i mod N.

    Args:
        reconstruct: maps images (n, C, H, W) in [-1, 1] to reconstructions.
        size: images at a time.
    """
    for start in range(0, len(indices), size):
        batch = indices[start : start + size]
        images, labels = split.__getitems__([i % len(split) for i in batch])
        yield batch, quantized(reconstruct(to_float(images.to(device)))), labels.to(device)


def of_reconstructions(
    suite: Suite,
    autoencoder: Autoencoder,
    split: Any,
    indices: Sequence[int],
    device: torch.device,
) -> dict[str, float]:
    """Return the suite's first metric of real images, encoded and decoded, which no network on their latents beats.

    Args:
        suite: prepared; its sums are reset.
        autoencoder: on `device`.
        split, indices: this rank's images i mod N.
    """
    suite.reset()
    found = reconstructed(
        lambda x: autoencoder.decode(autoencoder.encode(x)), split, indices, autoencoder.batch_size, device
    )
    for batch, images, labels in found:
        suite.update(batch, images, labels)
    name, value = next(iter(suite.compute().items()))
    suite.reset()
    return {f"{name}_of_reconstructions": value}


def generate_local(
    trainer: L.Trainer,
    module: DiffusionModule,
    num_images: int,
    sampler: Sampler,
    guidance: float | None,
    seed: int,
    weights: str = "ema",
    labels: ClassLabels | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yield (indices, uint8 images (n, C, H, W)) of this rank's part of images 0 .. num_images - 1.

    Each rank takes every world-size-th image. Networks compute in the precision of the training.

    Args:
        weights: `ema`, `raw` or the name of a further average (DiffusionModule.weights_of).
        labels: of all images; None for i mod num_classes.
        batch_size: images at a time; None for what a micro-batch of the training allows.
        options: of samplers.generate.generate.
    """
    indices = range(trainer.global_rank, num_images, trainer.world_size)
    denoiser, scale = module.weights_of(weights), scale_for(module, guidance)
    with autocast(str(trainer.precision), module.device), evaluating(denoiser):
        yield from generate(
            denoiser,
            sampler,
            network_shape(trainer),
            indices,
            labels_for(indices, module.num_classes) if labels is None else labels.of(indices),
            guidance=scale,
            seed=seed,
            batch_size=images_at_a_time(trainer, batch_size, scale),
            device=module.device,
            decode=decoder(trainer),
            **options,
        )

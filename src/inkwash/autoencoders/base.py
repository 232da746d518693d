"""Base of autoencoders: moments, draws from them, normalisation, decoding in parts."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.random import generator

# Of a log variance, as in Rombach et al.'s code.
LOW, HIGH = -30.0, 20.0


class Autoencoder(nn.Module, ABC):
    """Autoencoder: maps images x in [-1, 1] to latents z and back, in float32. A new one writes `moments`, `images`.

    Args:
        latent_shape: (c, h, w).
        std: deviation of a normalised latent, in each channel: what the schedule and the prediction take for that of
            the data, 1 for most, 0.5 for schedule=edm.
        batch_size: images encoded or decoded at a time, at most.
        cache: a folder of `inkwash encode` with the moments of the training images; None to encode while training.

    Attributes:
        draws: whether moments have a log variance, and a latent is drawn.
        bounded: whether latents lie in [-1, 1], as pixels do.
        measured: whether `measure` or `restore` has set the normalisation.
        mean, dev: (c, 1, 1), of latents before normalisation.
        place: where its weights were read, for errors; the name of its class if they are part of its code.
    """

    draws = False
    bounded = False

    def __init__(self, latent_shape: Sequence[int], std: float = 1.0, batch_size: int = 32, cache: str | None = None):
        super().__init__()
        if not std > 0:
            raise UserError(f"autoencoder.std={std} must be positive")
        if batch_size < 1:
            raise UserError(f"autoencoder.batch_size={batch_size} must be at least 1")
        self.latent_shape = (latent_shape[0], latent_shape[1], latent_shape[2])
        self.std, self.batch_size, self.cache, self.measured = std, batch_size, cache, False
        self.place = type(self).__name__
        # Not persistent: `fingerprint` is of the weights alone.
        self.mean: Tensor
        self.dev: Tensor
        self.register_buffer("mean", torch.zeros(latent_shape[0], 1, 1), persistent=False)
        self.register_buffer("dev", torch.ones(latent_shape[0], 1, 1), persistent=False)

    @abstractmethod
    def moments(self, x: Tensor) -> Tensor:
        """Return the moments of images (n, C, H, W): means, (n, c, h, w), or with log variances, (n, 2 c, h, w)."""

    @abstractmethod
    def images(self, z: Tensor) -> Tensor:
        """Return the images (n, C, H, W) of latents (n, c, h, w) that are not normalised."""

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the SHA-256 of class, weights and shape."""
        digest = hashlib.sha256(repr((type(self).__name__, self.latent_shape)).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(repr((name, tuple(value.shape), value.dtype)).encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:32]

    # --- Latents ------------------------------------------------------------------------------------------------------

    def encode(self, x: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return normalised latents (n, c, h, w) of images (n, C, H, W): drawn with noise eps like them, or means."""
        return self.draw(self.moments_of(x), eps)

    def moments_of(self, x: Tensor) -> Tensor:
        """Return `moments` of any number of images, in parts that fit."""
        return self._in_parts(self.moments, x)

    def draw(self, moments: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return normalised latents (n, c, h, w) of moments, drawn with noise eps (n, c, h, w), or their means."""
        mean, log_variance = self._split(moments.float())
        if eps is not None and log_variance is not None:
            mean = mean + (log_variance / 2).exp() * eps
        return (mean - self.mean) / self.dev * self.std

    def decode(self, z: Tensor) -> Tensor:
        """Return images (n, C, H, W) of normalised latents (n, c, h, w), in parts that fit; about in [-1, 1]."""
        return self._in_parts(self.images, z.float() / self.std * self.dev + self.mean)

    def _split(self, moments: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.draws:
            return moments, None
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(LOW, HIGH)

    def _in_parts(self, function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        # No autocast: 8 bits of a decoder's output are visible.
        with torch.no_grad(), torch.autocast(batch.device.type, enabled=False):
            return torch.cat([function(part) for part in batch.split(self.batch_size)])

    # --- Normalisation ------------------------------------------------------------------------------------------------

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Set the normalisation by the moments of training images: mean and deviation of draws, without drawing any.

        The variance of a draw is that of the means plus the mean of the variances.
        """
        sums, count = torch.zeros(2, len(self.mean), dtype=torch.float64), 0
        for moments in batches:
            mean, log_variance = self._split(moments.double())
            variance = 0 if log_variance is None else log_variance.exp()
            sums += torch.stack([part.sum(dim=(0, 2, 3)) for part in (mean, mean**2 + variance)]).cpu()
            count += len(mean) * mean.shape[2] * mean.shape[3]
        mean, square = sums / count
        self._set(mean, (square - mean**2).sqrt())

    def normalisation(self) -> dict[str, list[float]]:
        """Return mean and deviation of each channel as plain numbers, for checkpoints."""
        return {"mean": self.mean.flatten().tolist(), "dev": self.dev.flatten().tolist()}

    def restore(self, stored: dict[str, Any]) -> None:
        """Set what `normalisation` returned."""
        self._set(*(torch.tensor(stored[key], dtype=torch.float64) for key in ("mean", "dev")))

    def _set(self, mean: Tensor, dev: Tensor) -> None:
        if not bool((mean.isfinite() & dev.isfinite() & (dev > 0)).all()):
            raise UserError(
                "autoencoder: latents of the training images are not finite, or the same for all images: is it trained?"
            )
        self.mean.copy_(mean.view(-1, 1, 1))
        self.dev.copy_(dev.view(-1, 1, 1))
        self.measured = True


def latent_noise(shape: tuple[int, ...], seed: int | str, stream: str, epoch: int, indices: Iterable[int]) -> Tensor:
    """Return the eps of images by their indices, (n, *shape), on the CPU.

    A function of (seed, stream, epoch, index), whatever the batch, the rank and the step.
    """
    generators = (generator(seed, "latents", stream, epoch, offset=i) for i in indices)
    return torch.stack([torch.randn(shape, generator=g) for g in generators])


class Identity(Autoencoder):
    """Autoencoder whose latents are the images: it trains, draws and measures as without one, bit for bit."""

    bounded = True

    def moments(self, x: Tensor) -> Tensor:
        return x

    def images(self, z: Tensor) -> Tensor:
        return z

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Leave mean 0 and deviation 1."""
        self.measured = True

    def draw(self, moments: Tensor, eps: Tensor | None = None) -> Tensor:
        return moments.float()

    def decode(self, z: Tensor) -> Tensor:
        return z

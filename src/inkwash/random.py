"""Random numbers as a function of a key, never of a state that a resume could lose.

Training keys are (seed, stream, step, shard), sampling keys (seed, stream, image index). Numbers are drawn on the
CPU and moved, so that they do not depend on the device, unless a caller asks for a device's own generator.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """Return a 62-bit seed for a key, the same in every process and on every machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def generator(*key: int | str, offset: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for a key.

    Keys that may number more than a few thousand (images) go into `offset`: the CPU's Mersenne twister keeps 32 bits
    of its seed, so hashed seeds of 50,000 images would collide with probability 1/4 while consecutive ones never do.
    """
    return torch.Generator(device).manual_seed(seed_of(*key) + offset)


def seed_default(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of this device, as torch.manual_seed seeds those of all devices.

    torch.manual_seed takes a millisecond where there is no GPU: for each kind of device that torch has not initialised
    it formats the stack, in case it has to say later who asked for it.
    """
    for each in _defaults(device):
        each.manual_seed(seed)


def state_of_default(device: torch.device) -> list[Tensor]:
    """Return the states of the global generators of the CPU and of this device, from which dropout draws."""
    return [each.get_state() for each in _defaults(device)]


def restore_default(states: list[Tensor], device: torch.device) -> None:
    """Put the global generators back into these states, so that they draw the same again."""
    for each, state in zip(_defaults(device), states, strict=True):
        each.set_state(state)


def _defaults(device: torch.device) -> list[torch.Generator]:
    more = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *more]


class Draws:
    """Random numbers for a batch of images, each equal part of it from a generator of its own.

    Args:
        generators: one for each part of the batch: as many as images when sampling, as shards when training.
        device: of the numbers.
        first, total: this batch holds the images first, first + 1, ... of `total` (a rank's part of a global batch).
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        device: torch.device | str = "cpu",
        first: int = 0,
        total: int | None = None,
    ):
        self.generators = generators
        self.device = torch.device(device)
        self.first = first
        self.total = total

    def normal(self, *shape: int) -> Tensor:
        """Draw N(0, 1), float32, of shape (n, ...)."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Draw U[0, 1), float64, of shape (n, ...): times are computed in float64."""
        return self._draw(torch.rand, shape, dtype=torch.float64)

    def strata(self, n: int) -> Tensor:
        """Draw U[0, 1), float64, (n,): image i of the global batch of N draws from [i / N, (i + 1) / N)."""
        index = torch.arange(self.first, self.first + n, dtype=torch.float64, device=self.device)
        return (index + self.uniform(n)) / (n if self.total is None else self.total)

    def _draw(self, sample, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        size, rest = divmod(shape[0], len(self.generators))
        if rest:
            raise ValueError(f"{shape[0]} images cannot be cut into {len(self.generators)} equal shares")
        parts = [sample(size, *shape[1:], generator=g, device=g.device, dtype=dtype) for g in self.generators]
        drawn, to_gpu = torch.cat(parts), self.device.type == "cuda"
        # A copy from memory that is not pinned would wait for all that the GPU still has to do.
        return (drawn.pin_memory() if to_gpu and not drawn.is_cuda else drawn).to(self.device, non_blocking=to_gpu)

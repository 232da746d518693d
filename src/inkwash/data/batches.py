"""Index batches of each optimizer step: a function of (seed, step), independent of the number of ranks."""

from collections.abc import Callable, Iterator
from itertools import islice

from torch.utils.data import Sampler

from inkwash.data.images import Flipped
from inkwash.data.latents import WithNoise
from inkwash.errors import UserError
from inkwash.images import ImageSplit


class StepBatches(Sampler[list[int]]):
    """An endless stream of index batches for one rank.

    Write the permutations of epochs 0, 1, 2, ... one after the other: step s takes positions [s * B, (s + 1) * B).
    So no image is dropped, a set smaller than B wraps around, and resuming needs no state but the step. With A
    micro-batches and W ranks, rank r takes part c = micro * W + r of A * W equal contiguous parts.

    Args:
        images: N images with the order of each epoch.
        batch_size: B, images per optimizer step, over all ranks and micro-batches.
        seed: of the order of the images.
        world_size, rank: W and r.
        accumulate: A, micro-batches per optimizer step.
        start_step: called when an iteration begins; returns the step to begin at, which is training's.

    Raises:
        UserError: B is not a multiple of W * A.
    """

    def __init__(
        self,
        images: ImageSplit | Flipped | WithNoise,
        batch_size: int,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
        accumulate: int = 1,
        start_step: Callable[[], int] = lambda: 0,
    ):
        if batch_size % (world_size * accumulate):
            raise UserError(
                f"data.batch_size={batch_size} is the global batch and must be a multiple of the {world_size} ranks "
                f"(trainer.devices times trainer.num_nodes) times trainer.accumulate_grad_batches={accumulate}"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.world_size = world_size
        self.rank = rank
        self.accumulate = accumulate
        self.start_step = start_step

    def __iter__(self) -> Iterator[list[int]]:
        stream = self._indices(self.start_step() * self.batch_size)
        size = self.batch_size // (self.world_size * self.accumulate)
        while True:
            batch = list(islice(stream, self.batch_size))
            for micro in range(self.accumulate):
                cell = micro * self.world_size + self.rank
                yield batch[cell * size : (cell + 1) * size]

    def _indices(self, position: int) -> Iterator[int]:
        """Yield the concatenated permutations from a position on."""
        epoch, first = divmod(position, len(self.images))
        while True:
            yield from self.images.order(self.seed, epoch, first)
            epoch, first = epoch + 1, 0

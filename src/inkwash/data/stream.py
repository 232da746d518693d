"""Images that are read when it is their turn: a set need not fit in memory, nor be decoded to a disk first."""

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.data.decode import CorruptImageError, decode
from inkwash.data.shards import Shards
from inkwash.errors import UserError
from inkwash.random import generator

MIN_WINDOW = 4
log = logging.getLogger(__name__)


class Stream(Dataset):
    """One split of a set of shards, with everything that `Images` offers but the images at once.

    Any image can be asked for, but only `order`, and going forward, are quick: they stay with a few blocks at a time.

    Args:
        shards: the files.
        chosen: int64 (N,), the numbers of the images that belong to the split, ascending.
        shape: (C, H, W) wanted.
        resize: see `decode`.
        skip_corrupt: an image that cannot be read is replaced by the next one of its block.
        window: how many images are mixed with each other.
        fingerprint: of the split.
    """

    def __init__(
        self,
        shards: Shards,
        chosen: np.ndarray,
        shape: tuple[int, int, int],
        resize: bool,
        skip_corrupt: bool,
        window: int,
        fingerprint: str,
    ):
        self.shards, self.chosen, self.shape = shards, chosen, shape
        self.resize, self.skip_corrupt, self.fingerprint = resize, skip_corrupt, fingerprint
        self.firsts = np.searchsorted(chosen, shards.firsts)  # as those of the shards, but counting the split alone
        rows_per_block = shards.firsts[-1] / len(shards.sizes)
        self.window = min(max(MIN_WINDOW, math.ceil(window / rows_per_block)), len(shards.sizes))
        # A rank or reader that takes few images of a block may not have looked at it for a while: hence some more.
        self.capacity = math.ceil(1.25 * self.window)
        self._blocks: OrderedDict[int, Sequence[bytes]] = OrderedDict()
        self._warned = False

    @property
    def labels(self) -> Tensor:
        """int64 (N,), gathered each time: the one thing here that is as long as the set."""
        return torch.from_numpy(np.asarray(self.shards.labels[self.chosen]))

    @property
    def memory(self) -> int:
        """Bytes of encoded images that a process keeps at most."""
        return int(np.sort(self.shards.sizes)[-self.capacity :].sum())

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """uint8 (n, C, H, W) and int64 (n,)."""
        images, labels = zip(*(self._image(index) for index in indices), strict=True)
        return torch.stack(images), torch.tensor(labels)

    def order(self, seed: int | str, epoch: int, first: int = 0, copies: int = 1) -> Iterator[int]:
        """Every index once, shuffled by (seed, epoch), from a position on; with 2 copies, i and N + i.

        The blocks are shuffled. The images of each are shuffled and dealt out in equal parts over as many rounds as the
        window has blocks, beginning with the round of the block's own; after the last round comes the first. So every
        round mixes parts of so many blocks, and a process that takes the rounds in turn reads one block for each.
        """
        blocks = np.flatnonzero(np.diff(self.firsts))
        blocks = blocks[torch.randperm(len(blocks), generator=generator(seed, "blocks", epoch)).numpy()]
        counts, window = copies * np.diff(self.firsts)[blocks], min(self.window, len(blocks))
        parts = np.arange(window)
        hands: dict[int, Tensor] = {}
        for number in range(len(blocks)):
            dealers = (number - parts) % len(blocks)
            begins, ends = parts * counts[dealers] // window, (parts + 1) * counts[dealers] // window
            if first >= (size := int((ends - begins).sum())):
                first -= size
                continue
            for dealer in set(dealers.tolist()) - set(hands):
                hands[dealer] = self._shuffled(int(blocks[dealer]), seed, epoch, copies)
            dealt = torch.cat([hands[d][b:e] for d, b, e in zip(dealers.tolist(), begins, ends, strict=True)])
            mixed = dealt[torch.randperm(size, generator=generator(seed, "rounds", epoch, offset=number))]
            yield from mixed[first:].tolist()
            first = 0
            del hands[int(dealers[-1])]

    def _shuffled(self, block: int, seed: int | str, epoch: int, copies: int) -> Tensor:
        """The indices of a block."""
        indices = torch.cat(
            [torch.arange(*self.firsts[block : block + 2]) + copy * len(self) for copy in range(copies)]
        )
        return indices[torch.randperm(len(indices), generator=generator(seed, "rows", epoch, offset=block))]

    def _image(self, index: int) -> tuple[Tensor, int]:
        """uint8 (C, H, W) and the label."""
        block = int(np.searchsorted(self.firsts, index, side="right")) - 1
        first, end = (int(i) for i in self.firsts[block : block + 2])
        encoded, start = self._read(block), int(self.shards.firsts[block])
        for other in (*range(index, end), *range(first, index)):
            number = int(self.chosen[other])
            try:
                image = self._decode(encoded[number - start], number)
            except CorruptImageError as error:
                if not self.skip_corrupt:
                    raise
                self._warn(error)
            else:
                return image, int(self.shards.labels[number])
        raise UserError(f"no image near {self.shards.name(start)} can be read: check data.path")

    def _decode(self, encoded: bytes, number: int) -> Tensor:
        try:
            return decode(encoded, self.shape, self.resize, "an image")
        except UserError as error:
            if self._warned and isinstance(error, CorruptImageError):
                raise  # for nobody to read
            # Again, for the error to have the name, which may take a while to find.
            return decode(encoded, self.shape, self.resize, self.shards.name(number))

    def _warn(self, error: CorruptImageError) -> None:
        if not self._warned:
            log.warning("another image takes its place, as will be with others like it: %s", error)
            self._warned = True

    def _read(self, block: int) -> Sequence[bytes]:
        if block not in self._blocks:
            while len(self._blocks) >= self.capacity:
                self._blocks.popitem(last=False)
            self._blocks[block] = self.shards.read(block)
        self._blocks.move_to_end(block)
        return self._blocks[block]

"""A split that is read from shards while it is used: it fits neither in memory nor, decoded, on a disk."""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inkwash.data.decode import CorruptImageError, decode
from inkwash.data.facts import Facts
from inkwash.data.opening import pages_of, size_of
from inkwash.data.rendering import AS_IT_IS, Rendering
from inkwash.data.shards import Shards
from inkwash.data.suspicions import of_pages
from inkwash.errors import UserError
from inkwash.random import generator

MIN_WINDOW = 4
log = logging.getLogger(__name__)


class Stream(Dataset):
    """An ImageSplit read from shards.

    Any image can be read, but only `order` and ascending indices are fast: they use a few blocks at a time.

    Args:
        shards: the files.
        chosen: int64 (N,), the numbers of the split's images, ascending.
        shape: (C, H, W) of the decoded images.
        resize: see `decode`.
        skip_corrupt: an image that cannot be read is replaced by the next one of its block.
        window: number of images that are mixed with each other.
        fingerprint: hash of the split.
        rendering: range of levels and background: see `decode`.
        facts: what the source found, for the report of the data set.
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
        rendering: Rendering = AS_IT_IS,
        facts: Facts | None = None,
    ):
        self.shards, self.chosen, self.shape = shards, chosen, shape
        self.resize, self.skip_corrupt, self.fingerprint = resize, skip_corrupt, fingerprint
        self.rendering, self.facts = rendering, facts or Facts()
        self.firsts = np.searchsorted(chosen, shards.firsts)  # those of the shards, counting the split's images alone
        rows_per_block = shards.firsts[-1] / len(shards.sizes)
        self.window = min(max(MIN_WINDOW, math.ceil(window / rows_per_block)), len(shards.sizes))
        # A quarter more, because a rank or reader that takes few images of a block returns to it late.
        self.capacity = math.ceil(1.25 * self.window)
        self._blocks: OrderedDict[int, Sequence[bytes]] = OrderedDict()
        self._warned = False

    @property
    def labels(self) -> Tensor:
        """Labels, int64 (N,), gathered at each call: nothing else here is as long as the set."""
        return torch.from_numpy(np.asarray(self.shards.labels[self.chosen]))

    @property
    def memory(self) -> int:
        """Largest number of bytes of encoded images that a process holds."""
        return int(np.sort(self.shards.sizes)[-self.capacity :].sum())

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (n, C, H, W), and labels, int64 (n,), of a batch."""
        images, labels = zip(*(self._image(index) for index in indices), strict=True)
        return torch.stack(images), torch.tensor(labels)

    def sizes(self, count: int) -> list[tuple[int, int]]:
        """Return height and width, as they are in their files, of those of the first images that can be read."""
        found = []
        for encoded in self._first(count):
            try:
                found.append(size_of(encoded))
            except MemoryError:
                raise
            except Exception as error:  # Pillow has many for damaged headers
                if isinstance(error, OSError) and error.errno is not None:
                    raise
        return found

    def seconds_per_image(self, count: int) -> float:
        """Return the time that an image takes: to decode it, and its share of the reading of its block.

        Args:
            count: images to decode, at most, of the first block that has any.
        """
        block = int(np.flatnonzero(np.diff(self.firsts))[0])
        first, end = (int(i) for i in self.firsts[block : block + 2])
        start = time.perf_counter()
        self._read(block)
        read = time.perf_counter()
        self.__getitems__(decoded := [*range(first, min(first + count, end))])
        seconds = (read - start) / (end - first) + (time.perf_counter() - read) / len(decoded)
        self._blocks.clear()  # or readers that are not forked would get it
        return seconds

    def suspicions(self, count: int) -> tuple[str, ...]:
        """Return a sentence for the report if one of the first images has several pages or frames."""
        for index, encoded in enumerate(self._first(count)):
            with suppress(UserError):
                if (pages := pages_of(encoded)) > 1:
                    return (of_pages(self.shards.name(int(self.chosen[index])), pages),)
        return ()

    def _first(self, count: int) -> Iterator[bytes]:
        """Yield the first images, encoded."""
        for index in range(min(count, len(self))):
            block = self._block_of(index)
            yield self._read(block)[int(self.chosen[index] - self.shards.firsts[block])]

    def order(self, seed: int | str, epoch: int, first: int = 0, copies: int = 1) -> Iterator[int]:
        """Yield every index once, shuffled by (seed, epoch), from a position on; with 2 copies, i and N + i.

        The blocks are shuffled, and so are the images of each. There are as many rounds as blocks, and w blocks in the
        window. Block b is divided into w equal parts, one for each of the rounds b, b + 1, ..., b + w - 1, cyclically.
        A round shuffles its parts. So it mixes w blocks, and a process that goes through the rounds in turn reads one
        new block for each.
        """
        blocks = np.flatnonzero(np.diff(self.firsts))
        blocks = blocks[torch.randperm(len(blocks), generator=generator(seed, "blocks", epoch)).numpy()]
        counts, window = copies * np.diff(self.firsts)[blocks], min(self.window, len(blocks))
        parts = np.arange(window)
        shuffled: dict[int, Tensor] = {}
        for number in range(len(blocks)):
            sources = (number - parts) % len(blocks)
            begins, ends = parts * counts[sources] // window, (parts + 1) * counts[sources] // window
            if first >= (size := int((ends - begins).sum())):
                first -= size
                continue
            for source in set(sources.tolist()) - set(shuffled):
                shuffled[source] = self._shuffled(int(blocks[source]), seed, epoch, copies)
            joined = torch.cat([shuffled[s][b:e] for s, b, e in zip(sources.tolist(), begins, ends, strict=True)])
            mixed = joined[torch.randperm(size, generator=generator(seed, "rounds", epoch, offset=number))]
            yield from mixed[first:].tolist()
            first = 0
            del shuffled[int(sources[-1])]

    def _shuffled(self, block: int, seed: int | str, epoch: int, copies: int) -> Tensor:
        """Return the indices of a block, shuffled."""
        indices = torch.cat(
            [torch.arange(*self.firsts[block : block + 2]) + copy * len(self) for copy in range(copies)]
        )
        return indices[torch.randperm(len(indices), generator=generator(seed, "rows", epoch, offset=block))]

    def _block_of(self, index: int) -> int:
        return int(np.searchsorted(self.firsts, index, side="right")) - 1

    def _image(self, index: int) -> tuple[Tensor, int]:
        """Return an image, uint8 (C, H, W), and its label."""
        block = self._block_of(index)
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
            return decode(encoded, self.shape, self.resize, "an image", self.rendering)
        except UserError as error:
            if self._warned and isinstance(error, CorruptImageError):
                raise  # its message is not shown
            # Decode again for an error with the image's name, which may take a while to find.
            return decode(encoded, self.shape, self.resize, self.shards.name(number), self.rendering)

    def _warn(self, error: CorruptImageError) -> None:
        if not self._warned:
            log.warning("another image takes its place, without further warnings for others like it: %s", error)
            self._warned = True

    def _read(self, block: int) -> Sequence[bytes]:
        if block not in self._blocks:
            while len(self._blocks) >= self.capacity:
                self._blocks.popitem(last=False)
            self._blocks[block] = self.shards.read(block)
        self._blocks.move_to_end(block)
        return self._blocks[block]

"""What the ranks of a job do in order, or agree on, before they measure."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist


@contextmanager
def rank_0_first() -> Iterator[None]:
    """Let rank 0 go through the block before the others: what it trains or downloads shows in its log."""
    several = dist.is_available() and dist.is_initialized()
    if several and dist.get_rank() > 0:
        dist.barrier()
    try:
        yield
    finally:
        if several and dist.get_rank() == 0:
            dist.barrier()


def barrier() -> None:
    """Wait for the other ranks."""
    if dist.is_initialized():
        dist.barrier()


def largest(number: int) -> int:
    """Return the largest of all ranks' numbers, on every rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return number
    numbers: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(numbers, number)
    return max(numbers)

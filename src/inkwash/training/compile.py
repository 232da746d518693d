"""torch.compile for a network, with a way back where it does not work."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from inkwash.training.micro_batches import is_exhaustion

log = logging.getLogger(__name__)


def compile_network(net: Any, must: bool = False, backend: str = "inductor") -> None:
    """Compile a network's `forward` in place, so that the names of its parameters stay as they are.

    A network of equal blocks, as a transformer is, is compiled block by block: the first compiles for all, in the time
    of one, and what is left around them is small.

    Compilation happens at the first call, and may fail then for want of a C++ compiler or of an operator. Copy the
    network before this: a copy would call the compiled original.

    Args:
        must: raise that error. Otherwise the network goes on uncompiled, after one warning.
        backend: of torch.compile.
    """
    parts = equal_blocks(net) or [net]
    plain = [part.forward for part in parts]

    def give_up() -> None:
        for part, forward in zip(parts, plain, strict=True):
            part.forward = forward

    for part in parts:
        compiled = torch.compile(part.forward, backend=backend)
        part.forward = compiled if must else _or_plain(compiled, part.forward, give_up)


def equal_blocks(net: nn.Module) -> list[Any]:
    """Return the blocks of each nn.ModuleList of a network whose entries, two at least, are of one class and size."""
    lists = [[*child] for child in net.children() if isinstance(child, nn.ModuleList)]
    return [block for blocks in lists if len(blocks) > 1 and len({*map(_kind, blocks)}) == 1 for block in blocks]


def _kind(block: nn.Module) -> tuple[Any, ...]:
    """Return what two blocks that compile to the same code have in common."""
    sizes = ((name, tuple(parameter.shape)) for name, parameter in block.named_parameters())
    return (type(block), *sizes)


def _or_plain(
    compiled: Callable[..., Any], plain: Callable[..., Any], give_up: Callable[[], None]
) -> Callable[..., Any]:
    """Return a function that calls the compiled one until it fails, then gives up compiling and calls the plain one."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except Exception as error:
            if is_exhaustion(error):  # of a batch that is too large: a smaller one may be tried next
                raise
            give_up()
            result = plain(*args, **kwargs)  # raises again if the network itself is at fault
            reason = str(error).strip().partition("\n")[0][:160]
            log.warning(
                "torch.compile failed (%s: %s): training goes on without it; compile=must makes this an error",
                type(error).__name__,
                reason,
            )
            return result

    return forward

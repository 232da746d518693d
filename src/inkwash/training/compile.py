"""torch.compile for a network, with a way back where it does not work."""

import logging
from typing import Any

import torch

log = logging.getLogger(__name__)


def compile_network(net: Any, must: bool = False, backend: str = "inductor") -> None:
    """Compile a network's `forward` in place, so that the names of its parameters stay as they are.

    Compilation happens at the first call, and may fail then for want of a C++ compiler or of an operator. Copy the
    network before this: a copy would call the compiled original.

    Args:
        must: raise that error. Otherwise the network goes on uncompiled, after one warning.
        backend: of torch.compile.
    """
    plain = net.forward
    compiled = torch.compile(plain, backend=backend)

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except Exception as error:
            net.forward = plain
            result = plain(*args, **kwargs)  # raises again if the network itself is at fault
            reason = str(error).strip().partition("\n")[0][:160]
            log.warning(
                "torch.compile failed (%s: %s): training goes on without it; compile=must makes this an error",
                type(error).__name__,
                reason,
            )
            return result

    net.forward = compiled if must else forward

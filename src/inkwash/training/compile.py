"""torch.compile, and what to do on a machine where it does not work."""

import logging
from typing import Any

log = logging.getLogger(__name__)


def compile_network(net: Any, must: bool = False, backend: str = "inductor") -> None:
    """Compile in place, which leaves the names of its parameters as they are.

    What is compiled at the first call may fail then, for want of a C++ compiler or of an operator. Unless it `must`
    work, the network goes on as it was written, after one warning.
    """
    net.compile(backend=backend)
    if must:
        return
    compiled = net._compiled_call_impl
    assert compiled is not None

    def call(*args, **kwargs):
        try:
            return compiled(*args, **kwargs)
        except Exception as error:
            net._compiled_call_impl = None
            result = net(*args, **kwargs)  # raises again if the network itself is at fault
            reason = str(error).strip().partition("\n")[0][:160]
            log.warning(
                "torch.compile failed (%s: %s): training goes on without it; compile=must makes this an error",
                type(error).__name__,
                reason,
            )
            return result

    net._compiled_call_impl = call
